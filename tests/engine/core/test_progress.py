"""How far jobs are, as they report it."""

import tracemalloc

from engine.core.progress import Progress


def test_memory_does_not_grow_with_the_number_of_questions() -> None:
    progress = Progress()
    progress.begin(1, expected=None, now=0.0)
    tracemalloc.start()
    try:
        for number in range(1, 50_001):
            progress.report(1, answered=number, total=number, asked_now=1, now=number / 50)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # As a list of times, 50,000 answers would be some 1.6 MB.
    assert grown < 200_000
    assert progress.speed(1_000.0) == (1_000, 20.0)
