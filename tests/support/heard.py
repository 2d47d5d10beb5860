"""What work says of itself, remembered."""


class Heard:
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.phases: list[str] = []

    def begin(self, phase: str, total: int | None, unit: str = "") -> None:  # noqa: ARG002
        self.phases.append(phase)

    def advance(self, done: int) -> None:
        pass

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)
