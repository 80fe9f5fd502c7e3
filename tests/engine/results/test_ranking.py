"""Which answers of a run have the worst failures, told from the scores in its store."""

from math import inf

from engine.results.ranking import AnswerRanking
from tests.engine.results.test_rows import job


def test_the_jobs_with_the_lowest_scores_are_the_worst() -> None:
    ranking = AnswerRanking(2)
    for number, lowest in enumerate((0.3, 0.1, 0.4, 0.2)):
        ranking.add(job(id=number, failed=1, scores=(lowest, 0.9)))

    assert ranking.is_partial
    assert ranking.worst_jobs == [1, 3]
    assert ranking.highest_score == 0.2
    assert ranking.failed == 4


def test_milder_answers_that_come_later_are_left_out() -> None:
    ranking = AnswerRanking(2)
    for number, lowest in enumerate((0.1, 0.2, 0.3, 0.2)):
        ranking.add(job(id=number, failed=1, scores=(lowest, 0.9)))

    assert ranking.worst_jobs == [0, 1]


def test_few_answers_are_all_read() -> None:
    ranking = AnswerRanking(2)
    ranking.add(job(id=1, failed=1, scores=(0.3,)))
    ranking.add(job(id=2, failed=1, scores=(0.4,)))

    assert not ranking.is_partial
    assert ranking.highest_score == inf


def test_what_fails_at_no_threshold_that_is_asked_for_does_not_count() -> None:
    ranking = AnswerRanking(2)
    ranking.add(job(id=1, failed=2, scores=(0.3, 0.8), threshold=0.9, cells=(0.5,)))
    ranking.add(job(id=2, failed=1, scores=(0.8,), threshold=0.9, cells=(0.5,)))
    ranking.add(job(id=3, failed=1, scores=(0.1,), outdated=True))
    ranking.add(job(id=4, failed=0, scores=(0.9,)))

    assert ranking.failed == 1
    assert ranking.worst_jobs == [1]


def test_answers_without_scores_come_last() -> None:
    ranking = AnswerRanking(1)
    ranking.add(job(id=1, failed=3, scores=None))
    ranking.add(job(id=2, failed=1, scores=(0.4,)))

    assert ranking.worst_jobs == [2]
    assert ranking.failed == 4
