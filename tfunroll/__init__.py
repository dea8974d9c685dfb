"""tfunroll: unrolled training of neural physics simulators in Keras and TensorFlow."""

__version__ = "0.1.0"


def __getattr__(
    name,
):  # `tfunroll.load` and `export` without importing TensorFlow for `tfunroll.__version__`
    if name == "load":
        from tfunroll.models import load

        return load
    if name == "export":
        from tfunroll.saved_model import export

        return export
    raise AttributeError(f"module 'tfunroll' has no attribute {name!r}")
