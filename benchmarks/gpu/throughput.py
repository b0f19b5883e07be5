"""Speed of whole runs: with default options, with cached features, and with rows of one image in different steps."""

from typing import Any

from inputs import BenchmarkRows, checkpoint_folder, five_question_rows, load_config, one_question_rows
from step_profile import StepProfile
from tasks import BenchmarkSetting, TaskReport
from training_runs import TrainingRun, measure_speed, train

WARMUP_STEPS = 3


def five_questions_per_image(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: 5 questions per image. The first epoch encodes images, the second reads their cached features.

    The last ten steps of the first epoch are profiled and not measured.
    """
    rows = five_question_rows(setting)
    measured = range(2, 3) if setting.dry else range(WARMUP_STEPS + 1, 14)
    profile = StepProfile(range(3, 4) if setting.dry else range(14, 24))
    second_epoch = rows.steps + 2  # without its first step
    cached = range(second_epoch, second_epoch + (1 if setting.dry else 8))

    def report_encoding(run: TrainingRun) -> None:
        report.put(encoding=add_tflops(setting, measure_speed(run, measured, rows.per_step)))

    def report_cached(run: TrainingRun) -> None:
        report.put(cached=add_tflops(setting, measure_speed(run, cached, rows.per_step)), profile=profile.summary)

    run = train(
        setting,
        rows.file(setting),
        **_model_options(setting),
        **rows.options,
        max_steps=cached.stop - 1,
        epochs=cached.stop,
        vision_cache="on",
        profile=profile,
        reset_peaks_at=(measured.start, cached.start),
        after_step={measured.stop - 1: report_encoding, cached.stop - 1: report_cached},  # in case it is killed later
    )
    report.put(**_describe(run))


def one_question_per_image(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: 1 question per image."""
    _measure_run(report, setting, one_question_rows(setting))


def without_shared_images(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: the rows of `five_questions_per_image`; rows of one image are in different steps."""
    _measure_run(report, setting, five_question_rows(setting), share_images=False)


def _measure_run(report: TaskReport, setting: BenchmarkSetting, rows: BenchmarkRows, **options: Any) -> None:
    steps = range(2, 3) if setting.dry else range(WARMUP_STEPS + 1, 9)
    run = train(
        setting,
        rows.file(setting),
        **_model_options(setting),
        **rows.options,
        **options,
        max_steps=steps.stop - 1,
        reset_peaks_at=(steps.start,),
    )
    report.put(**_describe(run), encoding=add_tflops(setting, measure_speed(run, steps, rows.per_step)))


def _model_options(setting: BenchmarkSetting) -> dict[str, Any]:
    """Random weights in nf4; not quantized on a CPU, where that is slow."""
    quantization = "none" if setting.dry else "nf4"
    return {"model": str(checkpoint_folder(setting)), "random": True, "quantization": quantization}


def _describe(run: TrainingRun) -> dict[str, Any]:
    probe = [event["why"] for event in run.events_of("measured")]
    return {**run.trainer, "decisions": run.decisions, "probe": probe, "losses": run.losses}


def add_tflops(setting: BenchmarkSetting, speed: dict[str, Any]) -> dict[str, Any]:
    """Add the floating-point operations per second that training on the laid out tokens requires.

    4 per weight of a block and token (LoRA: the forward, and the backward with respect to inputs; recomputation does
    not count), the same for the output layer and each supervised token, 2 per weight of the vision tower and patch.
    Attention scores are not counted.
    """
    from mg_qwen2_5_vl.shape import model_shape

    shape = model_shape(load_config(setting))
    patches = speed["images_encoded"] * (five_question_rows(setting).side // 14) ** 2
    operations = 4.0 * shape.language.parameters * speed["laid_out"]
    operations += 4.0 * shape.embedding_parameters * speed["supervised_tokens"]
    operations += 2.0 * shape.vision.parameters * patches
    return {**speed, "tflops": operations / speed["seconds"] / 1e12}
