"""Run in the image by try.sh: everything that Triton compiles before it launches a kernel, without a GPU.

A kernel to machine code of an H100; and the C module that loads and launches kernels, compiled, linked and imported
by Triton's own code. A library with the names of the driver's functions stands in for the driver: nothing is launched.
"""

# mypy: ignore-errors
# Triton has no types, and this file runs in the image only.

import ctypes
import os
import re
import subprocess
import tempfile
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def add(x, y, n, width: tl.constexpr):
    place = tl.program_id(0) * width + tl.arange(0, width)
    inside = place < n
    tl.store(y + place, tl.load(x + place, mask=inside) + tl.load(y + place, mask=inside), mask=inside)


def stand_in_for_driver(folder: Path, names: set[str]) -> Path:
    """Compile a libcuda.so.1 in which every function fails."""
    source = folder / "cuda.c"
    source.write_text("".join(f"int {name}() {{ return 100; }}\n" for name in sorted(names)) or "int none;\n")
    library = folder / "libcuda.so.1"
    command = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library


def main() -> None:
    signature = {"x": "*fp32", "y": "*fp32", "n": "i32", "width": "constexpr"}
    kernel = triton.compile(ASTSource(add, signature, {"width": 128}), target=GPUTarget("cuda", 90, 32))
    print(f"kernel: {len(kernel.asm['cubin'])} bytes of machine code for compute capability 9.0")

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["TRITON_LIBCUDA_PATH"] = text
        from triton.backends.nvidia import driver

        launcher = ""
        if hasattr(driver, "make_launcher"):  # older Triton: one C module for every kernel
            launcher = driver.make_launcher({(3,): 128}, dict(enumerate(signature.values())), None)
        code = (Path(driver.__file__).parent / "driver.c").read_text() + launcher
        names = set(re.findall(r"\bcu[A-Z]\w+", code))
        ctypes.CDLL(str(stand_in_for_driver(folder, names)), mode=ctypes.RTLD_GLOBAL)
        driver.CudaUtils()
        print("driver module: compiled, linked, imported")
        if launcher:
            driver.compile_module_from_src(
                src=launcher,
                name="__triton_launcher",
                library_dirs=driver.library_dirs(),
                include_dirs=driver.include_dirs,
                libraries=driver.libraries,
            )
            print("launcher of the kernel: compiled, linked, imported")


if __name__ == "__main__":
    main()
