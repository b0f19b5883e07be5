"""TrainingSpec: everything that decides a run, declared once.

The flags of `train-vision`, the form of the dashboard, the `[train]` table of `garden.toml`, the body of the API and a
run's `spec.json` are all read from this model by way of `mg_tui.core.options`.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mg_tui.core.options import option, spec_error_from

TrainingMethod = Literal["lora", "full", "none"]
# What a dataset can be; `mg_tui.data.sources` has each in words.
DatasetFormat = Literal["jsonl", "json", "csv", "parquet", "arrow", "saved", "imagefolder", "webdataset", "hub"]
DatasetLayout = Literal["fields", "messages", "conversations", "texts", "alpaca", "vqa", "captions"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]

# One megapixel: what Qwen's own examples train at. The family default of 12.8 megapixels is 16,384 tokens an image and
# the commonest way to run out of memory.
DEFAULT_MAX_PIXELS = 1_003_520
DEFAULT_MIN_PIXELS = 3_136
CAPTION_PROMPT = "Describe this image."


class TrainingSpec(BaseModel):
    """What a run was asked to be. Frozen; unknown fields are refused by name.

    Raises:
        pydantic.ValidationError: from the constructor; use `TrainingSpec.parse` for a `SpecError` in our words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # --- Model -------------------------------------------------------------------------------------------------------
    base_model: str = option(
        title="Base model",
        help="A hub name, a local folder, or `tiny` (a small Qwen2.5-VL that comes with Model Garden).",
        group="Model",
        basic=True,
        min_length=1,
        example="Qwen/Qwen2.5-VL-7B-Instruct",
        known="models",
    )
    revision: str | None = option(
        None, title="Revision", help="Branch, tag or commit of the base model on the hub.", group="Model"
    )
    trust_remote_code: bool = option(
        False,
        title="Trust remote code",
        help="Run Python code that comes with the checkpoint. Only for checkpoints whose code you have read.",
        group="Model",
    )
    backend: Literal["transformers", "unsloth"] = option(
        "transformers",
        title="Backend",
        help="Who loads and patches the model; where unsloth cannot be used, transformers is, and the run says why.",
        group="Model",
    )

    # --- Data --------------------------------------------------------------------------------------------------------
    dataset: str = option(
        title="Dataset",
        help="The examples to train on: a file, a folder, owner/name on the hub, or a name from [datasets].",
        group="Data",
        basic=True,
        path=True,
        min_length=1,
        example="./data/vision_dataset.jsonl",
        known="datasets",
    )
    dataset_format: Literal["auto"] | DatasetFormat = option(
        "auto", title="Dataset format", help="What the dataset is; auto finds out and says so.", group="Data"
    )
    dataset_layout: Literal["auto"] | DatasetLayout = option(
        "auto",
        title="Dataset layout",
        help="How its rows say a conversation; auto finds out and says so.",
        group="Data",
    )
    dataset_split: str | None = option(
        None,
        title="Dataset split",
        help="Which split to train on, of a dataset that has several; left out, the one called train.",
        group="Data",
        min_length=1,
        example="train",
    )
    dataset_config: str | None = option(
        None,
        title="Dataset configuration",
        help="Which configuration of a dataset on the hub, or which entry of a dataset_info.json.",
        group="Data",
        min_length=1,
    )
    text_field: str = option(
        "text", title="Text field", help="Field with the question or instruction.", group="Data", min_length=1
    )
    image_field: str = option(
        "image", title="Image field", help="Field with the image: a path or a URL.", group="Data", min_length=1
    )
    response_field: str = option(
        "response", title="Response field", help="Field with the answer to learn.", group="Data", min_length=1
    )
    messages_field: str | None = option(
        None,
        title="Messages field",
        help="Field with the turns of a conversation; left out, it is looked for.",
        group="Data",
        min_length=1,
        example="messages",
    )
    learned_answers: Literal["all", "last"] = option(
        "all", title="Learned answers", help="Which answers of a conversation of several turns.", group="Data"
    )
    caption_prompt: str = option(
        CAPTION_PROMPT,
        title="Caption prompt",
        help="Asked of rows that have an image and its caption, and no question.",
        group="Data",
        min_length=1,
    )
    weight_field: str | None = option(
        None,
        title="Weight field",
        help="Field with a number from 0 up that the losses of the row's tokens are multiplied by; a step's loss is "
        "still divided by the number of its learned tokens, not by their weights. Not used in evaluations.",
        group="Data",
        min_length=1,
        example="weight",
    )
    image_root: str | None = option(
        None,
        title="Image root",
        help="Folder that relative image paths are looked up in, after the folder of the dataset file.",
        group="Data",
        path=True,
    )
    system_prompt: str | None = option(
        None, title="System prompt", help="Text of a system turn put before every conversation.", group="Data"
    )
    eval_dataset: str | None = option(
        None,
        title="Evaluation dataset",
        help="A second file, evaluated on and never trained on.",
        group="Data",
        path=True,
        known="datasets",
    )
    eval_dataset_split: str | None = option(
        None,
        title="Split of the evaluation dataset",
        help="Which split of it, when it has several.",
        group="Data",
        min_length=1,
        example="validation",
    )
    eval_split: float = option(
        0.0,
        title="Evaluation split",
        help="Share of the dataset held out for evaluation when there is no evaluation dataset; rows with the same "
        "image stay on one side.",
        group="Data",
        ge=0.0,
        lt=1.0,
        example="0.05",
    )
    on_bad_row: Literal["stop", "skip"] = option(
        "stop",
        title="On a bad row",
        help="stop: list every bad row and do not start. skip: train without them, count them and keep them in a file.",
        group="Data",
    )
    max_seq_length: int = option(
        2048,
        title="Maximum length",
        help="Longest example, image tokens included; a longer row is a bad row and is never cut.",
        group="Data",
        unit="tokens",
        basic=True,
        ge=16,
    )
    min_pixels: int = option(
        DEFAULT_MIN_PIXELS,
        title="Minimum pixels",
        help="Smaller images are enlarged to this many pixels.",
        group="Data",
        unit="pixels",
        ge=784,
    )
    max_pixels: int = option(
        DEFAULT_MAX_PIXELS,
        title="Maximum pixels",
        help="Larger images are reduced to this many pixels; memory and time grow with it.",
        group="Data",
        unit="pixels",
        basic=True,
        ge=784,
        example="501760",
    )
    train_on_prompt: bool = option(
        False,
        title="Train on the prompt",
        help="Learn the question's text as well as the answer; image tokens are never learned.",
        group="Data",
    )
    workers: int | None = option(
        None,
        title="Data workers",
        help="Processes that read and resize images ahead of training; 0 does it in the training process. Left out: 2 "
        "beside a GPU, and 0 on a CPU, which training keeps busy itself.",
        group="Data",
        unit="processes",
        ge=0,
        le=128,
    )

    # --- Output ------------------------------------------------------------------------------------------------------
    output_dir: str | None = option(
        None,
        title="Output folder",
        help="Where the result goes: a new or empty folder. Left out, it stays in the run's own folder.",
        group="Output",
        basic=True,
        path=True,
        example="./models/my-vision-model",
    )
    name: str | None = option(
        None, title="Name", help="A name for the run, shown in lists.", group="Output", basic=True
    )

    # --- Optimisation ------------------------------------------------------------------------------------------------
    epochs: float = option(
        3.0, title="Epochs", help="Passes over the dataset.", group="Optimisation", basic=True, gt=0, example="3"
    )
    max_steps: int | None = option(
        None,
        title="Maximum steps",
        help="Stop after this many optimizer steps, whatever `epochs` says.",
        group="Optimisation",
        unit="optimizer steps",
        ge=1,
    )
    batch_size: int = option(
        1,
        title="Batch size",
        help="Examples per forward pass. With accumulation it makes the examples of one optimizer step.",
        group="Optimisation",
        unit="examples",
        basic=True,
        ge=1,
    )
    gradient_accumulation_steps: int = option(
        8,
        title="Gradient accumulation",
        help="Batches whose gradients make one optimizer step; the loss is averaged over all their trained tokens.",
        group="Optimisation",
        unit="batches",
        basic=True,
        ge=1,
    )
    learning_rate: float = option(
        2e-5,
        title="Learning rate",
        help="Peak learning rate of the optimizer.",
        group="Optimisation",
        basic=True,
        gt=0,
        lt=10,
        example="2e-5",
    )
    projector_learning_rate: float | None = option(
        None,
        title="Projector's learning rate",
        help="Peak learning rate of the projector; left out, the learning rate.",
        group="Optimisation",
        gt=0,
        lt=10,
        example="1e-4",
    )
    vision_learning_rate: float | None = option(
        None,
        title="Vision tower's learning rate",
        help="Peak learning rate of the vision tower; left out, the learning rate.",
        group="Optimisation",
        gt=0,
        lt=10,
        example="2e-6",
    )
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"] = option(
        "cosine", title="Scheduler", help="How the learning rate goes after warm-up.", group="Optimisation"
    )
    warmup_ratio: float = option(
        0.03, title="Warm-up ratio", help="Share of all steps spent warming up.", group="Optimisation", ge=0, lt=1
    )
    warmup_steps: int | None = option(
        None,
        title="Warm-up steps",
        help="Warm-up as a number of steps; takes the place of the ratio.",
        group="Optimisation",
        unit="optimizer steps",
        ge=0,
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = option(
        "adamw", title="Optimizer", help="The 8-bit ones need a CUDA device.", group="Optimisation"
    )
    weight_decay: float = option(0.01, title="Weight decay", help="AdamW's weight decay.", group="Optimisation", ge=0)
    adam_beta1: float = option(
        0.9, title="Adam beta 1", help="Decay of the first moment.", group="Optimisation", ge=0, lt=1
    )
    adam_beta2: float = option(
        0.999, title="Adam beta 2", help="Decay of the second moment.", group="Optimisation", ge=0, lt=1
    )
    adam_epsilon: float = option(
        1e-8, title="Adam epsilon", help="Added to the denominator.", group="Optimisation", gt=0
    )
    max_grad_norm: float = option(
        1.0, title="Gradient clipping", help="Largest gradient norm; 0 turns clipping off.", group="Optimisation", ge=0
    )
    label_smoothing: float = option(
        0.0,
        title="Label smoothing",
        help="Share e of each target's probability given to all words of the vocabulary alike: a token's loss becomes "
        "(1 - e) x its own cross-entropy + e x the mean of that of every word. Not used in evaluations.",
        group="Optimisation",
        ge=0,
        lt=1,
        example="0.1",
    )
    seed: int = option(42, title="Seed", help="Decides order, initial adapter and dropout.", group="Optimisation", ge=0)

    layout: Literal["auto", "packed", "padded"] = option(
        "auto",
        title="Layout",
        help="packed computes tokens that examples share once and fills forward passes; padded puts a batch side by "
        "side. Same gradients either way; auto is packed where the model family can.",
        group="Optimisation",
    )
    share_images: bool = option(
        True,
        title="Share images",
        help="Let examples that show the same image meet in one optimizer step, where it is computed once.",
        group="Optimisation",
    )
    token_budget: int | None = option(
        None,
        title="Token budget",
        help="Most tokens of a packed forward pass; left out, found from free memory and, on CUDA, from what the worst "
        "pass is measured to take.",
        group="Optimisation",
        unit="tokens",
        ge=16,
    )

    vision_cache: Literal["auto", "on", "off"] = option(
        "auto",
        title="Vision cache",
        help="Keep what a frozen vision tower makes of an image on disk, for later epochs and runs; auto does where "
        "images come again and reading is measured to be quicker.",
        group="Optimisation",
    )
    vision_cache_size: float = option(
        20.0,
        title="Vision cache size",
        help="Most disk space that kept image features may take, of all runs together.",
        group="Optimisation",
        unit="GiB",
        gt=0,
    )

    # --- What is trained ---------------------------------------------------------------------------------------------
    train_language: TrainingMethod = option(
        "lora", title="Language model", help="How the language model is trained.", group="Trained parts"
    )
    train_projector: TrainingMethod = option(
        "none", title="Projector", help="How the projector (vision to language) is trained.", group="Trained parts"
    )
    train_vision: TrainingMethod = option(
        "none",
        title="Vision tower",
        help="How the vision tower is trained. Some servers ignore an adapter here: merge before serving.",
        group="Trained parts",
    )
    lora_r: int = option(
        16, title="LoRA rank", help="Rank of the adapter's matrices.", group="Trained parts", basic=True, ge=1, le=4096
    )
    lora_alpha: int = option(
        16, title="LoRA alpha", help="The adapter is scaled by alpha / rank.", group="Trained parts", basic=True, ge=1
    )
    lora_dropout: float = option(
        0.0, title="LoRA dropout", help="Dropout before the adapter.", group="Trained parts", ge=0, lt=1
    )
    use_rslora: bool = option(
        False, title="rsLoRA", help="Scale by alpha / sqrt(rank): steadier at high ranks.", group="Trained parts"
    )
    use_dora: bool = option(
        False,
        title="DoRA",
        help="Learn magnitude and direction apart: slower, sometimes better.",
        group="Trained parts",
    )

    # --- Precision and memory ----------------------------------------------------------------------------------------
    quantization: Literal["auto", "nf4", "int8", "none"] = option(
        "auto",
        title="Quantisation",
        help="Of the frozen language model: auto is 4-bit nf4 on a CUDA device and none elsewhere.",
        group="Precision and memory",
        basic=True,
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto",
        title="Compute dtype",
        help="auto is bfloat16 where the device has it, else float16 on CUDA and float32 on the CPU.",
        group="Precision and memory",
    )
    gradient_checkpointing: bool = option(
        True,
        title="Gradient checkpointing",
        help="Recompute activations in the backward pass: less memory, more time.",
        group="Precision and memory",
    )
    checkpointing_interval: int = option(
        1,
        title="Checkpointing interval",
        help="Recompute only every so-manieth block and keep the activations of the others: 1 recomputes all of them; "
        "more takes more memory and less time.",
        group="Precision and memory",
        unit="blocks",
        ge=1,
        le=1024,
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flex"] = option(
        "auto",
        title="Attention",
        help="Implementation of attention. auto is sdpa; on CUDA packed layouts have torch's flex attention where it "
        "suits, and with flex wherever it runs.",
        group="Precision and memory",
    )
    device: Literal["auto", "cuda", "cpu"] = option(
        "auto", title="Device", help="auto is CUDA where there is one, else the CPU.", group="Precision and memory"
    )

    # --- Saving and watching -----------------------------------------------------------------------------------------
    logging_steps: int = option(
        1,
        title="Logging interval",
        help="Optimizer steps between lines sent to trackers and the log; the journal has every step.",
        group="Saving and watching",
        unit="optimizer steps",
        ge=1,
    )
    save_steps: int = option(
        100,
        title="Checkpoint interval",
        help="Steps between checkpoints.",
        group="Saving and watching",
        unit="optimizer steps",
        basic=True,
        ge=1,
    )
    save_total_limit: int = option(
        3,
        title="Checkpoints kept",
        help="Older ones are removed.",
        group="Saving and watching",
        unit="checkpoints",
        ge=1,
    )
    keep_best: bool = option(
        True,
        title="Keep the best checkpoint",
        help="With an evaluation: checkpoint whenever its loss is the lowest so far, and never remove that one.",
        group="Saving and watching",
    )
    result_from: Literal["last", "best"] = option(
        "last",
        title="Result from",
        help="The last step, or the checkpoint with the lowest evaluation loss.",
        group="Saving and watching",
    )
    eval_steps: int | None = option(
        None,
        title="Evaluation interval",
        help="Steps between evaluations, when there is something to evaluate on; left out, the checkpoint interval.",
        group="Saving and watching",
        unit="optimizer steps",
        ge=1,
    )
    sample_count: int = option(
        2,
        title="Samples",
        help="Examples whose answers are generated at each evaluation or checkpoint, to read along.",
        group="Saving and watching",
        unit="examples",
        ge=0,
        le=64,
    )
    report_to: tuple[Tracker, ...] = option(
        (), title="Trackers", help="Where to report besides the journal.", group="Saving and watching"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels: give at most max_pixels ({self.max_pixels})")
        if self.eval_dataset is not None and self.eval_split > 0:
            raise ValueError("eval_split: leave it out when an evaluation dataset is given")
        if {self.train_language, self.train_projector, self.train_vision} == {"none"}:
            raise ValueError("train_language: nothing would be trained; choose lora or full for at least one part")
        if self.result_from == "best" and not (self.eval_dataset or self.eval_split):
            raise ValueError("result_from: best needs an evaluation; give eval_dataset or eval_split")
        if self.result_from == "best" and not self.keep_best:
            raise ValueError("keep_best: leave it on, or take the result from the last step (result_from)")
        if self.train_language == "full" and self.quantization in ("nf4", "int8"):
            raise ValueError("quantization: a quantised language model cannot be trained in full; choose none")
        if self.checkpointing_interval > 1 and not self.gradient_checkpointing:
            raise ValueError("checkpointing_interval: leave it out, or turn gradient_checkpointing on")
        for part, learned in (("projector", self.train_projector), ("vision", self.train_vision)):
            if learned == "none" and getattr(self, f"{part}_learning_rate") is not None:
                raise ValueError(f"{part}_learning_rate: leave it out, or train the part (train_{part})")
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str | Mapping[str, str] | None = None) -> Self:
        """A spec from loose values.

        Raises:
            SpecError: naming every bad field, its value, what would be accepted, and where it stands: `where` says
                so of all, or by field of those that stand anywhere.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise spec_error_from(cls, error, where=where) from None

    @property
    def examples_per_step(self) -> int:
        """Examples in one optimizer step on one device."""
        return self.batch_size * self.gradient_accumulation_steps

    def changed(self) -> dict[str, Any]:
        """The fields whose values differ from their defaults, required ones included."""
        defaults = {name: info.default for name, info in type(self).model_fields.items()}
        return {name: value for name, value in self.model_dump().items() if value != defaults[name]}
