"""Settings and data that all tests share."""

import os

# before TensorFlow is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if "PYTEST_XDIST_WORKER" in os.environ:  # one test process per core: more threads only wait
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory):
    """A data_dir with the dataset kuramoto_sivashinsky/tiny, built once."""
    from tfunroll import datasets

    folder = tmp_path_factory.mktemp("data")
    datasets.build("ks", "tiny", folder)
    return folder
