"""Actions where datasets are opened, and on the rows of a dataset."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {
    "datasets": "Datasets",
    "dataset": "A dataset",
    "reading": "How it is read",
    "jump": "When a row is typed",
    "ask": "When a model is chosen",
}

_DATASETS: Final = ("datasets", "Datasets")
_DATASET: Final = ("dataset", "A dataset")

ACTIONS: Final = (
    # --- opening
    Action(
        "datasets.open", ("enter",), "Open", "Open the dataset, or show what is in the folder.", *_DATASETS, "open", 1
    ),
    Action(
        "datasets.path",
        ("o",),
        "Open by its name",
        "Open a dataset by a typed path, or by its name on the hub.",
        *_DATASETS,
        "type a path",
        2,
    ),
    Action(
        "datasets.folder",
        ("d",),
        "Open the folder itself",
        "Open a folder of images, of shards, or one that `datasets` saved.",
        *_DATASETS,
        "folder as dataset",
        3,
    ),
    Action("datasets.expand", ("right", "l"), "Show what is inside", "Show what is in the folder.", *_DATASETS),
    Action(
        "datasets.collapse", ("left", "h"), "Hide what is inside", "Hide it, or go to the folder around.", *_DATASETS
    ),
    Action(
        "datasets.forget",
        ("x",),
        "Forget",
        "Take it out of what was opened before; the dataset itself stays.",
        *_DATASETS,
        "forget",
        6,
    ),
    # --- one dataset
    Action(
        "dataset.new",
        ("R",),
        "Train on it",
        "Begin a new run with this dataset, read as it is here.",
        *_DATASET,
        "train",
        1,
    ),
    Action("dataset.check", ("c",), "Check", "Check every row and image, or stop doing so.", *_DATASET, "check", 2),
    Action("dataset.find", ("slash",), "Find text", "Show only rows with a text in them.", *_DATASET, "find", 4),
    Action("dataset.jump", ("colon",), "Go to a row", "Go to a row by its number.", *_DATASET, "go to", 5),
    Action(
        "dataset.next",
        ("n",),
        "Next finding",
        "Go to the next row that the check found something in.",
        *_DATASET,
        "next finding",
        3,
    ),
    Action("dataset.previous", ("N",), "Previous finding", "Go to the one before.", *_DATASET),
    Action(
        "dataset.kinds",
        ("x",),
        "Only some findings",
        "Show only rows with findings of a kind; the next kind each time, then all rows again.",
        *_DATASET,
        "only kind",
        5,
    ),
    Action("dataset.row", ("r",), "The row", "Show the fields and the images of the row.", *_DATASET, "row", 7),
    Action(
        "dataset.tokens",
        ("t",),
        "Tokens",
        "Show the row as the model sees it, and which tokens it learns.",
        *_DATASET,
        "tokens",
        5,
    ),
    Action("dataset.findings", ("f",), "Findings", "Show what the check found, by kind.", *_DATASET, "findings", 6),
    Action("dataset.sizes", ("h",), "Sizes", "Show how large images and how long rows are.", *_DATASET, "sizes", 6),
    Action("dataset.image", ("i",), "Next image", "Show the row's next image.", *_DATASET, "next image", 6),
    Action(
        "dataset.reading",
        ("m",),
        "How it is read",
        "Choose its format, its layout, and which field is which.",
        *_DATASET,
        "fields",
        4,
    ),
    Action(
        "dataset.model",
        ("b",),
        "For which model",
        "Choose the base model that tokens are shown and checked for.",
        *_DATASET,
        "model",
        7,
    ),
    Action(
        "dataset.chat", ("a",), "Ask a model", "Ask a model about the row's image, and compare.", *_DATASET, "ask", 7
    ),
    Action("dataset.zoom", ("z",), "Zoom", "Give the lower pane the whole screen, and back.", *_DATASET, "zoom", 6),
    Action(
        "dataset.back",
        ("escape",),
        "All rows, or back",
        "Show all rows again; when all are shown, go back.",
        *_DATASET,
        "back",
        1,
    ),
    # --- how it is read
    Action(
        "reading.another",
        ("right", "l"),
        "Another",
        "Choose the next value.",
        "reading",
        "How it is read",
        in_palette=False,
    ),
    Action(
        "reading.before",
        ("left", "h"),
        "The one before",
        "Choose the value before.",
        "reading",
        "How it is read",
        in_palette=False,
    ),
    Action(
        "reading.use", ("enter",), "Use it", "Read the dataset this way.", "reading", "How it is read", in_palette=False
    ),
    Action(
        "reading.close", ("escape",), "Leave it", "Read it as before.", "reading", "How it is read", in_palette=False
    ),
    # --- a number is typed, a model is chosen
    Action("jump.close", ("escape",), "Stay", "Stay where it is.", "jump", "When a row is typed", in_palette=False),
    Action(
        "ask.chat",
        ("enter",),
        "Ask it",
        "Open a chat with the model.",
        "ask",
        "When a model is chosen",
        in_palette=False,
    ),
    Action("ask.close", ("escape",), "None", "Ask none.", "ask", "When a model is chosen", in_palette=False),
)
