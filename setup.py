"""Packaging of tfunroll. `datasets/` installs as `tfunroll.datasets`, never at the top level."""

import pathlib

from setuptools import setup

HERE = pathlib.Path(__file__).parent


def packages():
    """Import name and folder of every folder that has an __init__.py."""
    for root, folder in (("tfunroll", "tfunroll"), ("tfunroll.datasets", "datasets")):
        for path in sorted((HERE / folder).rglob("__init__.py")):
            inside = path.parent.relative_to(HERE / folder).parts
            yield ".".join([root, *inside]), path.parent.relative_to(HERE).as_posix()


PACKAGES = dict(packages())

# 0.16.1 unpickles what an array's settings tell it to; arrays/formats.py refuses such codecs too.
NUMCODECS = "numcodecs>=0.16.2,<0.17"
DATA = ["xarray>=2025.1,<2027", "h5netcdf>=1.5,<2", "zarr>=3,<4", NUMCODECS]  # files of own data

setup(
    name="tfunroll",
    version="0.1.0",
    description="Unrolled training of neural physics simulators, in Keras 3 and TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    entry_points={"console_scripts": ["tfunroll = tfunroll.commands:main"]},
    package_data={"": ["*.md", "*.bib", "*.txt", "py.typed"], "tfunroll.study": ["studies/*.toml"]},
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<3.16",
        "tensorflow-datasets>=4.9.10,<4.10",
        "importlib_resources>=6,<8",  # tensorflow-datasets imports it without declaring it
        "numpy>=2.0,<2.5",
        "pandas>=2.2,<4",
        "scipy>=1.13,<2",
        "matplotlib>=3.9,<4",
        "tensorboard>=2.20,<2.22",  # tf.summary needs it; TensorFlow 2.21 no longer pulls it in
        "absl-py>=2.1,<3",
        "pydantic>=2.8,<3",
        "typing_extensions>=4.12,<5",
        "tqdm>=4.66,<5",
        "psutil>=5.9,<8",
        "h5py>=3.11,<4",
        "tabulate>=0.9,<1",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "test": [
            "pytest>=8,<10",
            "hypothesis>=6.100,<7",
            "pytest-xdist>=3.6,<4",
            "dill>=0.3.8,<0.5",  # tensorflow_datasets.testing
            "build>=1.2,<2",
            "setuptools>=70",  # builds the wheel of tests/test_packaging.py
            "ruff>=0.15,<0.18",
            *DATA,
            "hypothesis>=6,<7",
        ],
        "bench": [
            "jax>=0.10,<0.11",
            "equinox>=0.13,<0.14",
            "optax>=0.2.8,<0.3",
            "exponax>=0.2,<0.3",
            "jax-cfd>=0.2.1,<0.3",
            "phiflow>=3.4,<3.5",
            "torch>=2.13,<2.14",
            "neuraloperator>=2,<3",
            "pyro-hydro>=4.5,<5",
        ],
        "beam": ["apache-beam>=2.77,<3", "mlcroissant>=1,<2"],
        "external": ["jax>=0.10,<0.11", "tesseract-core[runtime]>=1.15,<2"],
        "data": DATA,
        "zarr": ["zarr>=3,<4", NUMCODECS],
    },
)
