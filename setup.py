"""The compiled kernels. Everything else about the package is in pyproject.toml."""

import os
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src/fisherkern")
MODULES = ("_simd", "_network", "_transfer", "_tile", "_pass", "_step", "_control", "_loop")
# -fno-math-errno and -fno-trapping-math do not change results; -ffast-math would
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]
OPENMP = ["-Xpreprocessor", "-fopenmp"] if sys.platform == "darwin" else ["-fopenmp"]
PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


def each_in_a_thread(compile_all):
    """The compiler's method, for several sources at a time: those of the leaf loops take long."""

    def compile_sources(sources, *args, **options):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = pool.map(lambda source: compile_all([source], *args, **options), sources)
            return [made for objects in done for made in objects]

    return compile_sources


class BuildKernels(build_ext):
    """Adds OpenMP where a test program compiles and links with it."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        flags = OPENMP if self.openmp_works() else []
        if not flags:
            warnings.warn(
                "\n" + "*" * 78 + "\nOpenMP was not found: fisherkern is built WITHOUT threads and "
                "will use one core.\n" + "*" * 78, stacklevel=1)
        self.compiler.compile = each_in_a_thread(self.compiler.compile)
        for extension in self.extensions:
            extension.extra_compile_args += flags
            extension.extra_link_args += flags
        super().build_extensions()

    def openmp_works(self):
        if os.environ.get("FISHERKERN_NO_OPENMP"):
            return False
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.c"
            probe.write_text(PROBE)
            try:
                objects = self.compiler.compile([str(probe)], folder, extra_postargs=OPENMP)
                self.compiler.link_executable(objects, str(Path(folder) / "probe"),
                                              extra_postargs=OPENMP)
            except Exception:  # the compilers' error classes share no public base
                return False
        return True


def extension(name):
    sources = [str(SOURCE / f"{name}.pyx")]
    if name == "_simd":
        sources += sorted(map(str, (SOURCE / "simd").glob("*.c")))
    return Extension(
        f"fisherkern.{name}",
        sources,
        include_dirs=[str(SOURCE), numpy.get_include()],
        depends=[str(header) for header in sorted((SOURCE / "simd").glob("*.h"))],
        extra_compile_args=list(FLAGS),
    )


setup(
    ext_modules=cythonize(
        [extension(name) for name in MODULES],
        include_path=["src"],
        build_dir="build/cython",
    ),
    cmdclass={"build_ext": BuildKernels},
)
