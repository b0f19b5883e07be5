"""What planning asks of every example, as arrays: a million examples take 40 MB instead of a gigabyte."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mg_tui.core.example import Example
from mg_tui.data.digests import token_count_key


@dataclass(slots=True)
class ExampleColumns:
    """Columns of a sequence of examples; each has one value per example unless it says otherwise.

    Attributes:
        rows: numbers of the rows.
        keys: see `token_count_key`.
        answers: characters of the last answer; 0 when it is blank.
        image_starts: where the images of each example begin in `image_ids`, and the end of the last one.
        image_ids: the images of all examples in order, as indexes of `paths`.
        paths: the images; equal numbers are equal paths.
    """

    rows: "array[int]" = field(default_factory=lambda: array("Q"))
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    answers: "array[int]" = field(default_factory=lambda: array("I"))
    image_starts: "array[int]" = field(default_factory=lambda: array("Q", [0]))
    image_ids: "array[int]" = field(default_factory=lambda: array("I"))
    paths: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def images_of(self, index: int) -> "array[int]":
        """The images of an example, as indexes of `paths`."""
        return self.image_ids[self.image_starts[index] : self.image_starts[index + 1]]

    def used_paths(self) -> list[str]:
        """The distinct images, in the order of their first use."""
        return list(dict.fromkeys(self.paths[image] for image in dict.fromkeys(self.image_ids)))

    def append(self, example: Example, image_ids: Iterable[int]) -> None:
        """Add an example, whose images are in `paths` already."""
        self.rows.append(example.row)
        self.keys.append(token_count_key(example))
        response = example.response
        self.answers.append(len(response) if response.strip() else 0)
        self.image_ids.extend(image_ids)
        self.image_starts.append(len(self.image_ids))

    def select(self, indices: Sequence[int]) -> "ExampleColumns":
        """The columns of some examples; `paths` stays as it is, so that images keep their numbers."""
        chosen = ExampleColumns(paths=self.paths)
        chosen.rows.extend(self.rows[index] for index in indices)
        chosen.keys.extend(self.keys[index] for index in indices)
        chosen.answers.extend(self.answers[index] for index in indices)
        for index in indices:
            chosen.image_ids.extend(self.images_of(index))
            chosen.image_starts.append(len(chosen.image_ids))
        return chosen


def compute_columns(examples: Iterable[Example]) -> ExampleColumns:
    """The columns of examples in memory."""
    columns = ExampleColumns()
    numbers: dict[str, int] = {}
    for example in examples:
        ids = [numbers.setdefault(ref.path, len(numbers)) for ref in example.images]
        columns.append(example, ids)
    columns.paths = list(numbers)
    return columns
