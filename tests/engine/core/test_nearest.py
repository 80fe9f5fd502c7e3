from engine.core.nearest import nearest, suggestion

NAMES = ["models", "prompts", "Thresholds"]


def test_the_nearest_name_is_the_one_spelt_alike() -> None:
    assert nearest("model", NAMES) == "models"
    assert nearest("PROMPTS", NAMES) == "prompts"
    assert nearest("threshold", NAMES) == "Thresholds"
    assert nearest("xyz", NAMES) is None


def test_a_suggestion_falls_back_to_all_names() -> None:
    assert suggestion("promts", NAMES) == '; did you mean "prompts"?'
    assert suggestion("xyz", NAMES) == "; known: Thresholds, models, prompts"
    assert suggestion("xyz", []) == "; there are none"
    assert suggestion("?", map(str, range(100, 120))).endswith("110, 111 and 8 more")
