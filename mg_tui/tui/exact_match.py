"""Whether an answer of a model is the expected one."""


def is_same_answer(answer: str, expected: str) -> bool:
    """Whether two answers are equal, whitespace around them aside."""
    return answer.strip() == expected.strip()
