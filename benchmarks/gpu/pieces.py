"""The pieces and their tasks, in order of priority."""

import ablations
import attention_kernels
import device
import equivalence
import fsdp
import generation
import inputs
import memory_estimate
import oom_recovery
import peer
import smoke
import throughput
from tasks import BenchmarkSetting, Piece, Task


def list_pieces(setting: BenchmarkSetting) -> tuple[Piece, ...]:
    """All pieces. Their seconds are for about ten minutes and are scaled to the total time."""
    parallel = 2 if setting.dry else 6
    return (
        Piece("machine", "Machine and inputs", 45, _preparation(setting), parallel=parallel),
        Piece("nvml", "NVML", 8, (Task("NVML", device.check_nvml),)),
        Piece("runs", "Smoke tests", 50, SMOKE_TESTS, parallel=parallel),
        Piece("estimates", "Memory estimate and peak", 150, ESTIMATES),
        Piece("speed", "Speed, compared with a peer", 200, SPEED),
        Piece("attention", "Attention kernels", 60, (Task("attention", attention_kernels.compare_kernels),)),
        Piece("ablations", "Ablations", 60, ABLATIONS),
        Piece("fsdp2", "FSDP2 over nf4", 20, (Task("FSDP2", fsdp.compare_losses),)),
        Piece("generation", "Batched generation", 30, (Task("generation", generation.compare_methods),)),
    )


def _preparation(setting: BenchmarkSetting) -> tuple[Task, ...]:
    sizes = ("tiny",) if setting.dry else ("tiny", "small", setting.size)
    return (
        Task("machine", device.describe_machine),
        *(Task(f"compile flex attention for {size}", equivalence.compile_flex_task(size)) for size in sizes),
        Task("checkpoints", inputs.write_checkpoints),
        *(Task(f"dataset {number}", task) for number, task in enumerate(inputs.dataset_tasks(setting), start=1)),
    )


SMOKE_TESTS = (
    Task("out of memory", oom_recovery.recover_from_oom),
    Task("nf4", smoke.training_task(quantization="nf4")),
    Task("flex attention", equivalence.compare_flex),
    Task("resume", smoke.resume_run),
    Task("bfloat16", smoke.training_task(quantization="none", dtype="bfloat16")),
    Task("int8", smoke.training_task(quantization="int8")),
    Task("float16", smoke.training_task(quantization="none", dtype="float16")),
    Task("paged 8-bit AdamW", smoke.training_task(optimizer="paged_adamw_8bit")),
    Task("cached features", equivalence.compare_cached_features),
    Task("images as bytes", equivalence.compare_pixel_bytes),
)
ESTIMATES = (
    Task("QLoRA nf4", memory_estimate.estimate_task("nf4")),
    Task("LoRA bfloat16", memory_estimate.estimate_task("none")),
)
SPEED = (
    Task("5 questions", throughput.five_questions_per_image, 3),
    Task("peer", peer.best_of_two_batch_sizes, 3),
    Task("1 question", throughput.one_question_per_image, 2),
    Task("sharing off", throughput.without_shared_images, 2),
)
ABLATIONS = (
    Task("ablations", ablations.run_ablations, 3),
    Task("fused LoRA", ablations.ablate_fused_lora),
)
