"""TrainingSpec: everything that defines a run, declared once.

The flags of `train-vision`, the form of the dashboard, the `[train]` table of `garden.toml`, the body of the API and a
run's `spec.json` are all read from this model by way of `mg_tui.core.options`.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from mg_tui.core.options import option, spec_error_from, split_list, split_names

TrainingMethod = Literal["lora", "full", "none"]
# File formats and row layouts of a dataset; `mg_tui.data.sources` describes each.
DatasetFormat = Literal["jsonl", "json", "csv", "parquet", "arrow", "saved", "imagefolder", "webdataset", "hub"]
DatasetLayout = Literal[
    "fields", "messages", "conversations", "texts", "alpaca", "vqa", "captions", "choices", "labelstudio"
]
FamilyChoice = Literal["known", "auto"]
BoxUnits = Literal["resized", "thousandths", "pixels"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]

# One megapixel. The default of models that take images of any size, 12.8 megapixels, is 16,384 tokens per image and the
# most common cause of running out of memory.
DEFAULT_MAX_PIXELS = 1_003_520
DEFAULT_MIN_PIXELS = 3_136
CAPTION_PROMPT = "Describe this image."
# What `keep_best` takes beside names of metrics, and `eval_metrics` beside them.
BEST_LOSS, BEST_NONE = "loss", "none"
AUTO_METRICS = "auto"
# Who is told of a run and what happens around it: no part of what is trained, and so not of a result's metadata.
UNATTENDED_FIELDS = frozenset(
    {"notify", "sync", "when_done", "when_done_grace", "max_cost", "stop_grace"}
    | {"node_rank", "rendezvous", "rendezvous_timeout", "rank_timeout"}
)


class TrainingSpec(BaseModel):
    """The specification of a run. Frozen; unknown fields are rejected by name.

    Raises:
        pydantic.ValidationError: from the constructor; use `TrainingSpec.parse` for a `SpecError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # --- Model -------------------------------------------------------------------------------------------------------
    base_model: str = option(
        title="Base model",
        help="A Hub name, a local folder, or `tiny` (a small bundled model).",
        group="Model",
        basic=True,
        min_length=1,
        example="Qwen/Qwen2.5-VL-3B-Instruct",
        known="models",
        synonyms="model_name_or_path, model_id, checkpoint, pretrained, hf",
    )
    revision: str | None = option(
        None,
        title="Revision",
        help="Branch, tag or commit of the base model on the Hub.",
        group="Model",
        synonyms="commit, branch, model_revision",
    )
    family: FamilyChoice = option(
        "known",
        title="Family",
        help="known: an installed model family has to handle the model type; auto: else any model of transformers for "
        "images and text, generically: padded batches, parts by their names, nothing verified for it.",
        group="Model",
        synonyms="architecture, generic, model_type, unknown model",
    )
    trust_remote_code: bool = option(
        False,
        title="Trust remote code",
        help="Execute Python code shipped with the checkpoint. Only enable this for code you have reviewed.",
        group="Model",
        synonyms="remote code, custom code",
    )
    backend: Literal["transformers", "unsloth"] = option(
        "transformers",
        title="Backend",
        help="Library that loads the model; falls back from unsloth to transformers with a warning.",
        group="Model",
        synonyms="use_unsloth=unsloth, library",
    )

    # --- Data --------------------------------------------------------------------------------------------------------
    dataset: str = option(
        title="Dataset",
        help="Training data: a file, a folder, a Hub dataset (owner/name), or a name from [datasets]. Repeat it for "
        "several; NAME:2 takes every row twice, NAME:0.5 a random half.",
        group="Data",
        basic=True,
        path=True,
        min_length=1,
        example="./data/vision_dataset.jsonl",
        known="datasets",
        alias="dataset_path",
        synonyms="data, train_file, dataset_name, data_path, train_dataset",
    )
    additional_dataset: tuple[str, ...] = option(
        (),
        title="Additional datasets",
        help="Datasets to train on beside the first, each with an optional weight as in NAME:2.",
        group="Data",
        example="charts.jsonl:0.5",
        repeats="dataset",
    )
    dataset_format: Literal["auto"] | DatasetFormat = option(
        "auto", title="Dataset format", help="File format; auto detects it.", group="Data", synonyms="file_type, format"
    )
    dataset_layout: Literal["auto"] | DatasetLayout = option(
        "auto",
        title="Dataset layout",
        help="Row layout; auto detects it.",
        group="Data",
        synonyms="chat_template_format, sharegpt=conversations, llava=conversations, openai=messages, schema",
    )
    dataset_encoding: str | None = option(
        None,
        title="Dataset encoding",
        help="Encoding of a text file that is not UTF-8; UTF-16 and UTF-32 are detected.",
        group="Data",
        min_length=1,
        example="latin-1",
    )
    json_field: str | None = option(
        None,
        title="JSON field",
        help="Field of a JSON file's object that holds its list of rows. Default: detected.",
        group="Data",
        min_length=1,
        example="data",
    )
    dataset_split: str | None = option(
        None,
        title="Dataset split",
        help="Split to train on. Default: the only split, or train.",
        group="Data",
        min_length=1,
        example="train",
        synonyms="split, train_split",
    )
    dataset_config: str | None = option(
        None,
        title="Dataset configuration",
        help="Configuration of a Hub dataset, or entry of a dataset_info.json.",
        group="Data",
        min_length=1,
        synonyms="subset, dataset_config_name",
    )
    text_field: str = option(
        "text",
        title="Text field",
        help="Field with the question or instruction.",
        group="Data",
        min_length=1,
        synonyms="prompt_column, question_column, instruction, text_column, input",
    )
    image_field: str = option(
        "image",
        title="Image field",
        help="Field with the image: a path or URL.",
        group="Data",
        min_length=1,
        synonyms="image_column, img",
    )
    response_field: str = option(
        "response",
        title="Response field",
        help="Field with the answer.",
        group="Data",
        min_length=1,
        synonyms="answer_column, label_column, target, completion, output_column",
    )
    messages_field: str | None = option(
        None,
        title="Messages field",
        help="Field with the conversation turns. Default: detected.",
        group="Data",
        min_length=1,
        example="messages",
        synonyms="conversations_column, chat",
    )
    learned_answers: Literal["all", "last"] = option(
        "all",
        title="Supervised answers",
        help="Which answers of a multi-turn conversation are supervised.",
        group="Data",
        synonyms="last_turn_only=last, assistant_only_loss=all, mask_history=last",
    )
    caption_prompt: str = option(
        CAPTION_PROMPT,
        title="Caption prompt",
        help="Question for rows that have only an image and a caption.",
        group="Data",
        min_length=1,
    )
    weight_field: str | None = option(
        None,
        title="Weight field",
        help="Field with a non-negative weight for the row's token losses; the step loss is "
        "still divided by the number of supervised tokens, not by the weights. Ignored in evaluation.",
        group="Data",
        min_length=1,
        example="weight",
        synonyms="sample_weight, loss_weight",
    )
    ignore_column: tuple[str, ...] = option(
        (),
        title="Ignored columns",
        help="Column that rows are read without, or placeholder of another tool, such as <video>, left as text.",
        group="Data",
        example="hint",
        synonyms="drop_columns, remove_unused_columns",
    )
    box_format: BoxUnits | None = option(
        None,
        title="Box format",
        help="Write boxes of ms-swift's column objects into the text, in pixels of the image as resized for the "
        "model, in thousandths of its sides, or in pixels of the original. Default: such rows are bad.",
        group="Data",
        synonyms="bbox, grounding, norm_bbox",
    )
    image_root: str | None = option(
        None,
        title="Image root",
        help="Base folder for relative image paths, after the dataset's own folder.",
        group="Data",
        path=True,
        synonyms="image_folder, image_dir, media_dir, base_dir",
    )
    system_prompt: str | None = option(
        None,
        title="System prompt",
        help="System message prepended to every conversation.",
        group="Data",
        synonyms="system_message, default_system",
    )
    eval_dataset: str | None = option(
        None,
        title="Evaluation dataset",
        help="Held-out dataset for evaluation.",
        group="Data",
        path=True,
        known="datasets",
        synonyms="validation_file, val_dataset, test set, validation",
    )
    eval_dataset_split: str | None = option(
        None,
        title="Evaluation dataset split",
        help="Evaluation dataset split to use.",
        group="Data",
        min_length=1,
        example="validation",
    )
    eval_split: float = option(
        0.0,
        title="Evaluation split",
        help="Share of the dataset held out for evaluation if no evaluation dataset is given, e.g. 5% or 0.05; rows "
        "that share an image are kept together.",
        group="Data",
        ge=0.0,
        lt=1.0,
        example="5%",
        synonyms="val_size, test_size, validation_split, val_set_size, holdout",
    )
    on_bad_row: Literal["stop", "skip"] = option(
        "stop",
        title="On a bad row",
        help="stop: list all bad rows and do not start. skip: train without them and save them to a file.",
        group="Data",
        synonyms="skip_errors=skip, ignore_errors=skip",
    )
    max_seq_length: int = option(
        2048,
        title="Maximum length",
        help="Maximum tokens per example, including image tokens; longer rows are bad rows, never truncated.",
        group="Data",
        unit="tokens",
        basic=True,
        ge=16,
        synonyms="max_length, cutoff_len, model_max_length, context, block_size, truncation",
    )
    min_pixels: int = option(
        DEFAULT_MIN_PIXELS,
        title="Minimum pixels",
        help="Smaller images are upscaled to this many pixels.",
        group="Data",
        unit="pixels",
        ge=784,
        synonyms="image_min_pixels, resolution",
    )
    max_pixels: int = option(
        DEFAULT_MAX_PIXELS,
        title="Maximum pixels",
        help="Larger images are downscaled to this many pixels; higher values need more memory and time.",
        group="Data",
        unit="pixels",
        basic=True,
        ge=784,
        example="501760",
        synonyms="image_max_pixels, image_size, resolution, image_resolution",
    )
    train_on_prompt: bool = option(
        False,
        title="Train on the prompt",
        help="Also supervise the text of the prompt; image tokens are never supervised.",
        group="Data",
        synonyms="train_on_inputs, mask_prompt=off, completion_only=off",
    )
    workers: int | None = option(
        None,
        title="Data workers",
        help="Data loading processes; 0 loads in the training process. Default: 2 with a GPU, 0 on a CPU.",
        group="Data",
        unit="processes",
        ge=0,
        le=128,
        synonyms="dataloader_num_workers, num_workers, num_proc, preprocessing_num_workers",
    )

    # --- Output ------------------------------------------------------------------------------------------------------
    output_dir: str | None = option(
        None,
        title="Output folder",
        help="Folder for the result; must be new or empty. Default: inside the run folder.",
        group="Output",
        basic=True,
        path=True,
        example="./models/my-vision-model",
        synonyms="output, save_dir, out_dir",
    )
    name: str | None = option(
        None,
        title="Name",
        help="Name of the run.",
        group="Output",
        basic=True,
        synonyms="run_name, experiment, wandb_run",
    )

    # --- Optimization ------------------------------------------------------------------------------------------------
    epochs: float = option(
        3.0,
        title="Epochs",
        help="Passes over the dataset.",
        group="Optimization",
        basic=True,
        gt=0,
        example="3",
        alias="num_epochs",
        synonyms="num_train_epochs, num_epochs",
    )
    max_steps: int | None = option(
        None,
        title="Maximum steps",
        help="Stop after this many optimizer steps; overrides `epochs`.",
        group="Optimization",
        unit="optimizer steps",
        ge=1,
        synonyms="iterations, iters, max_iters",
    )
    batch_size: int = option(
        1,
        title="Batch size",
        help="Examples per forward pass; times gradient accumulation, the examples per optimizer step.",
        group="Optimization",
        unit="examples",
        basic=True,
        ge=1,
        synonyms="per_device_train_batch_size, train_batch_size, micro_batch_size, bs",
    )
    gradient_accumulation_steps: int = option(
        8,
        title="Gradient accumulation",
        help="Batches per optimizer step; the loss is averaged over all their supervised tokens.",
        group="Optimization",
        unit="batches",
        basic=True,
        ge=1,
        synonyms="grad_accum, accumulate_grad_batches, global_batch_size, ga",
    )
    learning_rate: float = option(
        2e-5,
        title="Learning rate",
        help="Peak learning rate of the optimizer.",
        group="Optimization",
        basic=True,
        gt=0,
        lt=10,
        example="2e-5",
        synonyms="lr, peak_lr",
    )
    projector_learning_rate: float | None = option(
        None,
        title="Projector learning rate",
        help="Peak learning rate of the projector. Default: the learning rate.",
        group="Optimization",
        gt=0,
        lt=10,
        example="1e-4",
        synonyms="mm_projector_lr, aligner_lr, merger_lr",
    )
    vision_learning_rate: float | None = option(
        None,
        title="Vision tower learning rate",
        help="Peak learning rate of the vision tower. Default: the learning rate.",
        group="Optimization",
        gt=0,
        lt=10,
        example="2e-6",
        synonyms="vision_lr, vit_lr, mm_vision_tower_lr",
    )
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"] = option(
        "cosine",
        title="Scheduler",
        help="Learning rate schedule after warm-up.",
        group="Optimization",
        synonyms="lr_scheduler_type, lr_scheduler, lr_decay, cosine decay=cosine",
    )
    warmup_ratio: float = option(
        0.03,
        title="Warm-up ratio",
        help="Fraction of all steps used for warm-up.",
        group="Optimization",
        ge=0,
        lt=1,
        synonyms="warm up, lr_warmup",
    )
    warmup_steps: int | None = option(
        None,
        title="Warm-up steps",
        help="Number of warm-up steps; overrides the ratio.",
        group="Optimization",
        unit="optimizer steps",
        ge=0,
        synonyms="num_warmup_steps, lr_warmup_steps",
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = option(
        "adamw",
        title="Optimizer",
        help="8-bit optimizers require CUDA.",
        group="Optimization",
        synonyms="optim, adam, adamw_torch=adamw, adamw_bnb_8bit=adamw_8bit, 8bit adam=adamw_8bit, "
        "paged_adamw=paged_adamw_8bit",
    )
    weight_decay: float = option(
        0.01,
        title="Weight decay",
        help="AdamW's weight decay.",
        group="Optimization",
        ge=0,
        synonyms="wd, l2, regularization",
    )
    adam_beta1: float = option(
        0.9,
        title="Adam beta 1",
        help="Decay of the first moment.",
        group="Optimization",
        ge=0,
        lt=1,
        synonyms="beta1, betas, momentum",
    )
    adam_beta2: float = option(
        0.999,
        title="Adam beta 2",
        help="Decay of the second moment.",
        group="Optimization",
        ge=0,
        lt=1,
        synonyms="beta2, betas",
    )
    adam_epsilon: float = option(
        1e-8,
        title="Adam epsilon",
        help="Added to the denominator.",
        group="Optimization",
        gt=0,
        synonyms="eps, epsilon",
    )
    max_grad_norm: float = option(
        1.0,
        title="Gradient clipping",
        help="Maximum gradient norm; 0 disables clipping.",
        group="Optimization",
        ge=0,
        synonyms="gradient_clip, clip_grad, gradient_clip_val, grad_clip",
    )
    label_smoothing: float = option(
        0.0,
        title="Label smoothing",
        help="Probability mass e spread uniformly over the vocabulary: a token's loss becomes "
        "(1 - e) x cross-entropy + e x mean cross-entropy over the vocabulary. Ignored in evaluation.",
        group="Optimization",
        ge=0,
        lt=1,
        example="0.1",
        synonyms="label_smoothing_factor, smoothing",
    )
    seed: int = option(
        42,
        title="Seed",
        help="Random seed for data order, adapter initialization and dropout.",
        group="Optimization",
        ge=0,
        synonyms="random_state, random_seed, data_seed",
    )

    layout: Literal["auto", "packed", "padded"] = option(
        "auto",
        title="Layout",
        help="packed computes shared prefixes once and fills forward passes; padded pads a "
        "batch. Gradients are identical; auto packs if the model family supports it.",
        group="Optimization",
        synonyms="packing=packed, sample_packing=packed, sequence packing=packed, group_by_length, padding_free=packed",
    )
    share_images: bool = option(
        True,
        title="Share images",
        help="Group examples with the same image into one optimizer step, so it is encoded once.",
        group="Optimization",
        synonyms="deduplicate images",
    )
    token_budget: int | None = option(
        None,
        title="Token budget",
        help="Maximum tokens per packed forward pass. Default: derived from free memory and, on CUDA, from the "
        "measured peak of the largest pass.",
        group="Optimization",
        unit="tokens",
        ge=16,
        synonyms="max_tokens_per_batch, max_tokens, batch_max_tokens",
    )

    vision_cache: Literal["auto", "shared", "on", "off"] = option(
        "auto",
        title="Vision cache",
        help="Cache image features of a frozen vision tower on disk for later epochs and runs; auto enables it if "
        "images repeat and reading is measurably faster; shared does so in a single epoch too, for other runs.",
        group="Optimization",
        synonyms="feature_cache, cache_images",
    )
    vision_cache_size: float = option(
        20.0,
        title="Vision cache size",
        help="Maximum disk space for cached image features of all runs.",
        group="Optimization",
        unit="GiB",
        gt=0,
        synonyms="cache size, disk cache",
    )

    # --- What is trained ---------------------------------------------------------------------------------------------
    train_language: TrainingMethod = option(
        "lora",
        title="Language model",
        help="How the language model is trained.",
        group="Trained parts",
        synonyms="finetuning_type, use_peft=lora, peft=lora, lora, freeze_llm=none, full_finetuning=full",
    )
    train_projector: TrainingMethod = option(
        "none",
        title="Projector",
        help="How the projector (vision to language) is trained.",
        group="Trained parts",
        synonyms="freeze_multi_modal_projector=none, freeze_aligner=none, freeze_projector=none, tune_mm_mlp=full, "
        "merger, aligner, connector, mlp",
    )
    train_vision: TrainingMethod = option(
        "none",
        title="Vision tower",
        help="How the vision tower is trained. Some inference servers ignore vision adapters; merge before serving.",
        group="Trained parts",
        synonyms="freeze_vision_tower=none, freeze_vit=none, tune_mm_vision=full, finetune_vision_layers=lora, vit, "
        "vision encoder, image encoder",
    )
    lora_r: int = option(
        16,
        title="LoRA rank",
        help="Rank of the adapter's matrices.",
        group="Trained parts",
        basic=True,
        ge=1,
        le=4096,
        synonyms="lora_rank, rank, r, lora dim",
    )
    lora_alpha: int = option(
        16,
        title="LoRA alpha",
        help="The adapter is scaled by alpha / rank.",
        group="Trained parts",
        basic=True,
        ge=1,
        synonyms="alpha, lora_scaling",
    )
    lora_dropout: float = option(
        0.0,
        title="LoRA dropout",
        help="Dropout on the adapter's input.",
        group="Trained parts",
        ge=0,
        lt=1,
        synonyms="dropout",
    )
    use_rslora: bool = option(
        False,
        title="rsLoRA",
        help="Scale by alpha / sqrt(rank): steadier at high ranks.",
        group="Trained parts",
        synonyms="rank stabilized lora, rslora",
    )
    use_dora: bool = option(
        False,
        title="DoRA",
        help="Train magnitude and direction separately: slower, sometimes better.",
        group="Trained parts",
        synonyms="dora, weight decomposed",
    )

    # --- Precision and memory ----------------------------------------------------------------------------------------
    quantization: Literal["auto", "nf4", "int8", "none"] = option(
        "auto",
        title="Quantization",
        help="Quantization of the frozen language model; auto is nf4 on CUDA, none otherwise.",
        group="Precision and memory",
        basic=True,
        synonyms="4bit=nf4, load_in_4bit=nf4, 8bit=int8, load_in_8bit=int8, qlora=nf4, bitsandbytes, bnb, "
        "bnb_4bit_quant_type=nf4, quantization_bit",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto",
        title="Compute dtype",
        help="auto is bfloat16 if supported, otherwise float16 on CUDA and float32 on a CPU.",
        group="Precision and memory",
        synonyms="bf16=bfloat16, fp16=float16, fp32=float32, half=float16, torch_dtype, mixed precision, amp, "
        "precision, tf32",
    )
    gradient_checkpointing: bool = option(
        True,
        title="Gradient checkpointing",
        help="Recompute activations in the backward pass: less memory, more time.",
        group="Precision and memory",
        synonyms="activation checkpointing, recompute, remat, use_gradient_checkpointing",
    )
    checkpointing_interval: int = option(
        1,
        title="Checkpointing interval",
        help="Recompute only every N-th block: 1 recomputes all blocks; higher values use more memory and less time.",
        group="Precision and memory",
        unit="blocks",
        ge=1,
        le=1024,
        synonyms="selective checkpointing, recompute granularity",
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flex"] = option(
        "auto",
        title="Attention",
        help="Attention implementation. auto is sdpa, or torch's flex attention for packed layouts on CUDA "
        "where supported.",
        group="Precision and memory",
        synonyms="flash=flash_attention_2, flash_attn=flash_attention_2, use_flash_attention_2=flash_attention_2, "
        "fa2=flash_attention_2, attn_implementation, xformers, flexattention=flex",
    )
    device: Literal["auto", "cuda", "cpu"] = option(
        "auto",
        title="Device",
        help="auto uses CUDA if available.",
        group="Precision and memory",
        synonyms="gpu=cuda, use_cpu=cpu, no_cuda=cpu, device_map, accelerator",
    )

    # --- Several processes -------------------------------------------------------------------------------------------
    processes: int | None = option(
        None,
        title="Processes",
        help="Training processes on this machine, one a GPU; a step has the examples of all of them. Default: one for "
        "each GPU that --gpus names; several on a CPU are for tests.",
        group="Several processes",
        unit="processes",
        ge=1,
        le=256,
        example="2",
        synonyms="nproc_per_node, num_processes, num_gpus, n_gpu, world_size, ranks, torchrun, accelerate launch, "
        "multi-gpu",
    )
    parallel: Literal["auto", "ddp", "fsdp"] = option(
        "auto",
        title="Parallelism",
        help="ddp: each process has a whole model; fsdp: they share its weights; auto is ddp if a whole model fits "
        "each device.",
        group="Several processes",
        synonyms="fsdp=fsdp, fsdp2=fsdp, ddp=ddp, zero3=fsdp, deepspeed=fsdp, data parallel=ddp, sharding=fsdp, "
        "strategy",
    )
    nodes: int = option(
        1,
        title="Machines",
        help="Machines that train together; start the same command on each, with its number and one rendezvous.",
        group="Several processes",
        unit="machines",
        ge=1,
        le=1024,
        synonyms="nnodes, num_nodes, num_machines, multi-node, cluster",
    )
    node_rank: int = option(
        0,
        title="Machine number",
        help="Number of this machine, from 0; the others connect to machine 0.",
        group="Several processes",
        ge=0,
        le=1023,
        synonyms="machine_rank, node_id",
    )
    rendezvous: str | None = option(
        None,
        title="Rendezvous",
        help="Address of machine 0 and a free port on it, where the machines meet. Anybody who reaches the port can "
        "take part: use a private network.",
        group="Several processes",
        min_length=3,
        example="10.0.0.1:29500",
        synonyms="rdzv_endpoint, master_addr, master_port, main_process_ip, dist_url",
    )
    rendezvous_timeout: float = option(
        600.0,
        title="Rendezvous timeout",
        help="Seconds to wait for the other machines before the run fails.",
        group="Several processes",
        unit="seconds",
        gt=0,
        le=86400,
        synonyms="rdzv_timeout, join_timeout",
    )
    rank_timeout: float = option(
        20.0,
        title="Process timeout",
        help="Seconds without a sign of life after which one of several training processes counts as stalled, and "
        "the run stops with a checkpoint.",
        group="Several processes",
        unit="seconds",
        ge=1,
        le=3600,
        synonyms="nccl timeout, ddp_timeout, heartbeat, hang",
    )

    # --- Checkpoints and logging -------------------------------------------------------------------------------------
    logging_steps: int = option(
        1,
        title="Logging interval",
        help="Optimizer steps between log and tracker entries; the journal records every step.",
        group="Checkpoints and logging",
        unit="optimizer steps",
        ge=1,
        synonyms="log_every, log_interval, log_every_n_steps",
    )
    save_steps: int = option(
        100,
        title="Checkpoint interval",
        help="Steps between checkpoints.",
        group="Checkpoints and logging",
        unit="optimizer steps",
        basic=True,
        ge=1,
        synonyms="save_every, checkpoint_every, save_strategy, ckpt_interval",
    )
    save_total_limit: int = option(
        3,
        title="Checkpoint limit",
        help="Maximum number of checkpoints; older ones are deleted.",
        group="Checkpoints and logging",
        unit="checkpoints",
        ge=1,
        synonyms="keep_last, max_checkpoints",
    )
    keep_best: str = option(
        BEST_LOSS,
        title="Keep the best checkpoint",
        help="Save a checkpoint whenever an evaluation is the best so far, and never delete the best one: by `loss` or "
        "by any metric (see eval_metrics); `none` keeps none.",
        group="Checkpoints and logging",
        min_length=1,
        example="exact_match",
        synonyms="load_best_model_at_end, save_best, best checkpoint",
    )
    result_from: Literal["last", "best"] = option(
        "last",
        title="Result from",
        help="Take the result from the last step or from the best checkpoint (see keep_best).",
        group="Checkpoints and logging",
        synonyms="load_best_model_at_end=best, best model=best",
    )
    early_stopping_patience: int | None = option(
        None,
        title="Early stopping patience",
        help="End the training after this many evaluations in a row that are not better than the best (see "
        "keep_best). Default: train to the last step.",
        group="Checkpoints and logging",
        unit="evaluations",
        ge=1,
        synonyms="early stopping, patience, early_stopping",
    )
    eval_steps: int | None = option(
        None,
        title="Evaluation interval",
        help="Optimizer steps between evaluations. Default: the checkpoint interval.",
        group="Checkpoints and logging",
        unit="optimizer steps",
        ge=1,
        synonyms="evaluation_strategy, eval_strategy, eval_every, val_interval, val_check_interval",
    )
    eval_metrics: tuple[str, ...] = option(
        (),
        title="Evaluation metrics",
        help="Metrics of generated answers at each evaluation, beside the loss: names separated by commas, or auto to "
        "choose from the references; see docs/evaluation.md.",
        group="Checkpoints and logging",
        example="exact_match,anls",
        synonyms="compute_metrics, metric_for_best_model, rouge, bleu, anls",
    )
    eval_limit: int | None = option(
        None,
        title="Evaluation limit",
        help="Answer only the first N held-out examples for metrics; the loss is that of all. Default: all.",
        group="Checkpoints and logging",
        unit="examples",
        ge=1,
        synonyms="max_eval_samples, eval_num_samples",
    )
    eval_max_new_tokens: int = option(
        128,
        title="Evaluation answer length",
        help="Maximum length of an answer that metrics score.",
        group="Checkpoints and logging",
        unit="tokens",
        ge=1,
        synonyms="generation_max_length, max_new_tokens",
    )
    sample_count: int = option(
        2,
        title="Samples",
        help="Number of examples for which answers are generated at each evaluation or checkpoint.",
        group="Checkpoints and logging",
        unit="examples",
        ge=0,
        le=64,
        synonyms="predict_with_generate, num_samples, generation samples, eval samples",
    )
    report_to: tuple[Tracker, ...] = option(
        (),
        title="Trackers",
        help="Experiment trackers to report to, in addition to the journal.",
        group="Checkpoints and logging",
        synonyms="wandb=wandb, weights and biases=wandb, use_wandb=wandb, tensorboard, mlflow, logger, tracking, "
        "tracker",
    )

    # --- While you are away ------------------------------------------------------------------------------------------
    notify: tuple[str, ...] = option(
        (),
        title="Notify",
        help="Where to send messages about the run: a name of [notify] or a URL (ntfy://TOPIC, https://... for a "
        "signed webhook, others with the extra `notify`). See docs/watching.md.",
        group="While you are away",
        example="phone",
        synonyms="notification, alert, webhook, ntfy, slack, telegram, email",
    )
    sync: str | None = option(
        None,
        title="Sync to",
        help="Copy each checkpoint and the result to a folder, user@host:path, s3://bucket/path or hf://owner/name.",
        group="While you are away",
        min_length=1,
        example="s3://bucket/runs",
        synonyms="backup, upload, hub_strategy, push_to_hub, rsync, s3",
    )
    when_done: str | None = option(
        None,
        title="When done",
        help="Once the result is safe and synced: stop or terminate this rented machine (RunPod, Vast), or a command.",
        group="While you are away",
        min_length=1,
        example="stop",
        synonyms="autostop, shutdown, poweroff, down",
    )
    when_done_grace: float = option(
        300.0,
        title="Grace before when done",
        help="Seconds in which `when_done` can still be cancelled.",
        group="While you are away",
        unit="seconds",
        ge=0,
    )
    max_cost: float | None = option(
        None,
        title="Maximum cost",
        help="Save a checkpoint and stop once the run has cost this much; needs a price in [cost].",
        group="While you are away",
        gt=0,
        example="20",
        synonyms="budget, max_price",
    )
    stop_grace: float | None = option(
        None,
        title="Stop grace",
        help="Seconds between SIGTERM and the end of this machine: a step that would take longer is abandoned and the "
        "checkpoint written without it. Default: in our container GARDEN_STOP_SECONDS (10), elsewhere the step is "
        "finished.",
        group="While you are away",
        unit="seconds",
        gt=0,
        example="10",
        synonyms="spot, preemption, termination_grace_period",
    )

    @field_validator("eval_split", mode="before")
    @classmethod
    def _parse_percentage(cls, value: Any) -> Any:
        """`5%` is 0.05."""
        if not isinstance(value, str) or not value.strip().endswith("%"):
            return value
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            return value

    @field_validator("eval_metrics", "notify", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        """Names separated by commas are several names."""
        return split_names(value)

    @field_validator("keep_best", mode="before")
    @classmethod
    def _best_of_older_specs(cls, value: Any) -> Any:
        """Earlier versions had a switch, whose metric was the loss."""
        words = {"true": BEST_LOSS, "on": BEST_LOSS, "false": BEST_NONE, "off": BEST_NONE}
        return words.get(str(value).strip().lower(), value)

    @model_validator(mode="before")
    @classmethod
    def _split_datasets(cls, values: Any) -> Any:
        """A list of datasets as the first and the additional ones, an object in it as its JSON text, and lists that are
        written as one text, with commas, as lists."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if isinstance(values.get("dataset"), list | tuple) and values["dataset"]:
            first, *others = values["dataset"]
            values |= {"dataset": first, "additional_dataset": others}
        if isinstance(values.get("dataset"), dict):
            values["dataset"] = _to_json(values["dataset"])
        for name in ("ignore_column", "additional_dataset"):
            if isinstance(values.get(name), str):
                values[name] = tuple(split_list(values[name]))
        if isinstance(values.get("additional_dataset"), list | tuple):
            values["additional_dataset"] = tuple(_to_json(item) for item in values["additional_dataset"])
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels: must not exceed max_pixels ({self.max_pixels})")
        if self.eval_dataset is not None and self.eval_split > 0:
            raise ValueError("eval_split: cannot be combined with eval_dataset")
        if {self.train_language, self.train_projector, self.train_vision} == {"none"}:
            raise ValueError("train_language: nothing to train; set at least one part to lora or full")
        self._require_evaluation()
        self._require_rendezvous()
        if self.train_language == "full" and self.quantization in ("nf4", "int8"):
            raise ValueError("quantization: full training requires an unquantized language model; set it to none")
        if self.checkpointing_interval > 1 and not self.gradient_checkpointing:
            raise ValueError("checkpointing_interval: requires gradient_checkpointing")
        for part, method in (("projector", self.train_projector), ("vision", self.train_vision)):
            if method == "none" and getattr(self, f"{part}_learning_rate") is not None:
                raise ValueError(f"{part}_learning_rate: requires train_{part} lora or full")
        return self

    def _require_rendezvous(self) -> None:
        """Raise ValueError when the options of several machines do not fit together."""
        if self.node_rank >= self.nodes:
            raise ValueError(f"node_rank: must be below nodes ({self.nodes})")
        if self.nodes > 1 and self.rendezvous is None:
            raise ValueError("rendezvous: required by nodes above 1")
        if self.nodes == 1 and self.rendezvous is not None:
            raise ValueError("nodes: must be at least 2 with a rendezvous")
        if self.rendezvous is not None:
            host, _, port = self.rendezvous.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"rendezvous: got {self.rendezvous!r}; expected HOST:PORT, e.g. 10.0.0.1:29500")

    def _require_evaluation(self) -> None:
        """Raise ValueError when an option needs an evaluation, or its metric, that the run has not."""
        evaluates = bool(self.eval_dataset or self.eval_split)
        asked = {
            "result_from": self.result_from == "best" and "best",
            "eval_metrics": bool(self.eval_metrics) and ", ".join(self.eval_metrics),
            "early_stopping_patience": self.early_stopping_patience is not None and "early stopping",
            "keep_best": self.keep_best not in (BEST_LOSS, BEST_NONE) and self.keep_best,
        }
        for name, value in asked.items():
            if value and not evaluates:
                raise ValueError(f"{name}: {value} requires eval_dataset or eval_split")
        if self.keep_best == BEST_NONE and (asked["result_from"] or asked["early_stopping_patience"]):
            needs = "result_from best" if asked["result_from"] else "early_stopping_patience"
            raise ValueError(f"keep_best: required by {needs}; give loss or a metric")
        if AUTO_METRICS in self.eval_metrics and len(self.eval_metrics) > 1:
            raise ValueError("eval_metrics: auto stands alone")

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str | Mapping[str, str] | None = None) -> Self:
        """A spec from untyped values.

        Raises:
            SpecError: naming every bad field, its value and what would be accepted; `where` is the file or variable of
                all values, or a mapping from fields to theirs.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise spec_error_from(cls, error, where=where) from None

    @property
    def examples_per_step(self) -> int:
        """Examples in one optimizer step of one process."""
        return self.batch_size * self.gradient_accumulation_steps

    def changed(self) -> dict[str, Any]:
        """The fields whose values differ from their defaults, required ones included."""
        defaults = {name: info.default for name, info in type(self).model_fields.items()}
        return {name: value for name, value in self.model_dump().items() if value != defaults[name]}


def _to_json(item: Any) -> Any:
    return json.dumps(item, ensure_ascii=False, default=str) if isinstance(item, dict) else item
