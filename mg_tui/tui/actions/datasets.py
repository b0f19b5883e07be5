"""Actions where datasets are opened, and on the rows of a dataset."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {
    "datasets": "Datasets",
    "dataset": "Dataset",
    "reading": "Read options",
    "jump": "Go to a row",
    "ask": "Choosing a model",
}

_DATASETS: Final = ("datasets", "Datasets")
_DATASET: Final = ("dataset", "Dataset")

ACTIONS: Final = (
    # --- opening
    Action(
        "datasets.open", ("enter",), "Open", "Open the dataset, or show what is in the folder.", *_DATASETS, "open", 1
    ),
    Action(
        "datasets.path",
        ("o",),
        "Open a path or name",
        "Open a dataset by path or by its name on the Hub.",
        *_DATASETS,
        "open path",
        2,
    ),
    Action(
        "datasets.folder",
        ("d",),
        "Open as dataset",
        "Open a folder of images or shards, or one saved by `datasets`.",
        *_DATASETS,
        "folder as dataset",
        3,
    ),
    Action("datasets.expand", ("right", "l"), "Expand", "Expand the folder.", *_DATASETS),
    Action("datasets.collapse", ("left", "h"), "Collapse", "Collapse the folder, or go to its parent.", *_DATASETS),
    Action(
        "datasets.forget",
        ("x",),
        "Forget",
        "Remove it from the recent datasets; the files stay.",
        *_DATASETS,
        "forget",
        6,
    ),
    # --- one dataset
    Action(
        "dataset.new",
        ("R",),
        "Train on this dataset",
        "Start a new run with this dataset and these read options.",
        *_DATASET,
        "train",
        1,
    ),
    Action("dataset.check", ("c",), "Check", "Check every row and image, or stop the check.", *_DATASET, "check", 2),
    Action("dataset.find", ("slash",), "Find text", "Show rows that contain a text.", *_DATASET, "find", 4),
    Action("dataset.jump", ("colon",), "Go to a row", "Go to a row by its number.", *_DATASET, "go to", 5),
    Action(
        "dataset.next",
        ("n",),
        "Next finding",
        "Go to the next row with a finding.",
        *_DATASET,
        "next finding",
        3,
    ),
    Action("dataset.previous", ("N",), "Previous finding", "Go to the previous row with a finding.", *_DATASET),
    Action(
        "dataset.kinds",
        ("x",),
        "Filter by finding",
        "Cycle through the rows of each kind of finding, then all rows.",
        *_DATASET,
        "filter",
        5,
    ),
    Action("dataset.row", ("r",), "The row", "Show the fields and the images of the row.", *_DATASET, "row", 7),
    Action(
        "dataset.tokens",
        ("t",),
        "Tokens",
        "Show the row as tokens, with the supervised ones marked.",
        *_DATASET,
        "tokens",
        5,
    ),
    Action("dataset.findings", ("f",), "Findings", "Show what the check found, by kind.", *_DATASET, "findings", 6),
    Action("dataset.sizes", ("h",), "Sizes", "Show how large images and rows are.", *_DATASET, "sizes", 6),
    Action("dataset.image", ("i",), "Next image", "Show the row's next image.", *_DATASET, "next image", 6),
    Action(
        "dataset.reading",
        ("m",),
        "Read options",
        "Set format, layout, fields and image root.",
        *_DATASET,
        "fields",
        4,
    ),
    Action(
        "dataset.model",
        ("b",),
        "Choose the base model",
        "Choose the base model for tokens and checks.",
        *_DATASET,
        "model",
        7,
    ),
    Action(
        "dataset.chat",
        ("a",),
        "Ask a model",
        "Ask a model about this row, and compare.",
        *_DATASET,
        "ask",
        7,
    ),
    Action("dataset.zoom", ("z",), "Zoom", "Show the lower pane full screen, or not.", *_DATASET, "zoom", 6),
    Action(
        "dataset.back",
        ("escape",),
        "Show all, or back",
        "Show all rows; when all are shown, go back.",
        *_DATASET,
        "back",
        1,
    ),
    # --- how it is read
    Action(
        "reading.another",
        ("right", "l"),
        "Next value",
        "Select the next value.",
        "reading",
        "Read options",
        in_palette=False,
    ),
    Action(
        "reading.before",
        ("left", "h"),
        "Previous value",
        "Select the previous value.",
        "reading",
        "Read options",
        in_palette=False,
    ),
    Action(
        "reading.use",
        ("enter",),
        "Apply",
        "Reopen it with these options.",
        "reading",
        "Read options",
        in_palette=False,
    ),
    Action(
        "reading.close", ("escape",), "Cancel", "Keep the current options.", "reading", "Read options", in_palette=False
    ),
    # --- a number is typed, a model is chosen
    Action("jump.close", ("escape",), "Cancel", "Stay on the current row.", "jump", "Go to a row", in_palette=False),
    Action(
        "ask.chat",
        ("enter",),
        "Chat",
        "Open a chat with the model.",
        "ask",
        "Choosing a model",
        in_palette=False,
    ),
    Action("ask.close", ("escape",), "Cancel", "Close without a chat.", "ask", "Choosing a model", in_palette=False),
)
