"""Common GPUs by name, with the memory available to a CUDA program.

Marketing sizes differ: of "24 GB" a program gets 23.5 GiB, less with ECC. `usable_bytes` is the capacity torch reports
(`torch.cuda.mem_get_info`, "total capacity" in its out-of-memory message) on an otherwise unused card, or, where no
such message was available, nvidia-smi's total less 0.6 GiB, the difference on the cards where both are known.
"""

from dataclasses import dataclass
from typing import Final

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class KnownGpu:
    """A common GPU: its name, the bytes available to a program, and the source of that number."""

    name: str
    usable_bytes: int
    source: str


def _known_gpu(name: str, gib: float, source: str) -> KnownGpu:
    return KnownGpu(name, int(gib * _GIB), source)


_MODAL_SOURCE: Final = "nvidia-smi (modal-labs/modal-client#2797) less 0.6 GiB"

KNOWN_GPUS: Final[tuple[KnownGpu, ...]] = (
    _known_gpu("RTX 3060 12 GB", 11.75, "torch (smy20011/dreambooth-gui#78)"),
    _known_gpu("T4 16 GB", 14.4, _MODAL_SOURCE),
    _known_gpu("A10 24 GB", 21.99, "torch (zai-org/CogVLM#236)"),
    _known_gpu("L4 24 GB", 21.9, _MODAL_SOURCE),
    _known_gpu("RTX 3090 / 4090 24 GB", 23.5, "torch (ali-vilab/VGen#104: 23.64; Soul-AILab/SoulX-FlashTalk#5: 23.52)"),
    _known_gpu("RTX 5090 32 GB", 31.36, "torch (TrajectoryCrafter/TrajectoryCrafter#20)"),
    _known_gpu("A100 40 GB", 39.50, "torch (TianheWu/CoSeR#10)"),
    _known_gpu("L40S / RTX 6000 Ada 48 GB", 44.4, "torch (DINGYANB/MTVCrafter#21: 44.43)"),
    _known_gpu("H100 80 GB", 79.11, "torch (vllm-project/vllm#27508)"),
    _known_gpu("A100 80 GB", 79.25, "torch (HiDream-ai/VAREdit#6)"),
    _known_gpu("H100 NVL 94 GB", 93.0, "torch (ali-vilab/VACE#56)"),
    _known_gpu("RTX PRO 6000 96 GB", 94.97, "CUDA's total (antirez/ds4#431)"),
    _known_gpu("H200 141 GB", 139.8, "nvidia-smi (143,771 MiB) less 0.6 GiB"),
    _known_gpu("B200 192 GB", 178.4, "nvidia-smi (183,359 MiB, pytorch/pytorch#163750) less 0.6 GiB"),
)
# Said wherever the list is shown.
NOT_LISTED: Final = "AMD GPUs (MI series) are not listed: no run was made on one, and the estimate is for CUDA."
