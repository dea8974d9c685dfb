"""The contract of a dataset builder, held by all that tfunroll has and by a user's own.

TFDS's own test case builds a small config, reads it back and checks registration, metadata, types,
counts and that splits share no example; Contract adds what trajectories need.
"""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from own_waves.own_waves_dataset_builder import Builder as OwnWaves
from tfunroll.datasets.base import counts, group_examples
from tfunroll.datasets.transonic_aerofoil.simulated import Grid

from tfunroll import datasets, systems
from tfunroll.systems.base import TEST_SPLITS

FEW = counts(train=(1, 4), validation=(1, 3), tests=(1, 3))


def config(name, **changes):
    """The tiny config of a dataset, made smaller still."""
    (tiny,) = [c for c in datasets.builder_class(name).BUILDER_CONFIGS if c.name == "tiny"]
    return dataclasses.replace(tiny, **{"name": "few", "splits": FEW, **changes})


def counted(builder, chosen):
    """Trajectories by split."""
    values = systems.get(builder.SYSTEM).splits
    return {split: n * len(values[split]) for split, (n, _) in chosen.splits.items()}


class Contract:
    """With tfds.testing.DatasetBuilderTestCase; a subclass names DATASET_CLASS, CONFIG, SPLITS."""

    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False  # TFDS's rule for its own repository
    EXAMPLE_DIR = pathlib.Path(__file__).parent

    def _make_builder(self, config=None):
        return super()._make_builder(config or self.CONFIG)

    def test_download_and_prepare_as_dataset(self):
        self.BUILDER_CONFIG_NAMES_TO_TEST = [self.CONFIG]
        super().test_download_and_prepare_as_dataset()

    def test_version_and_card(self):
        builder, info = self.builder, self.builder.info
        assert str(builder.version) in builder.RELEASE_NOTES
        assert info.citation
        card = (builder.pkg_dir_path / "README.md").read_text()
        assert card.split("\n")[0] in info.description
        for path in info.features.get_tensor_info():
            assert f"`{path}`" in card, path
        for group in ("params", "diagnostics"):
            for name in info.features[group]:
                assert f"`{name}`" in card, f"{group}/{name}"

    def test_metadata(self):
        metadata, system = self.builder.info.metadata, systems.get(self.builder.SYSTEM)
        assert metadata["system"] == system.name
        assert metadata["channels"] == list(system.channels)
        assert metadata["frame_time"] == system.frame_time
        assert set(metadata["parameter_units"]) == set(system.params)
        assert metadata["scheme"]

    def _download_and_prepare_as_dataset(self, builder):
        super()._download_and_prepare_as_dataset(builder)
        system = systems.get(builder.SYSTEM)
        examples = {split: builder.examples(split) for split in self.SPLITS}
        for split, (_, frames) in self.CONFIG.splits.items():
            for e in examples[split]:
                assert e["state"].shape == (frames, *builder.grid, len(system.channels))
                assert np.isfinite(e["state"]).all()
                assert np.abs(np.diff(e["state"], axis=0)).max() > 0, "nothing moves"
                assert e["diagnostics"]["energy"].shape == (frames,)
        every = [e for split in examples.values() for e in split]
        assert len({e["trajectory_id"] for e in every}) == len(every)
        assert len({e["state"][0].tobytes() for e in every}) == len(every), "two start alike"
        values = {
            split: {tuple(e["params"][n].item() for n in system.params) for e in found}
            for split, found in examples.items()
        }
        for split, found in values.items():
            by_name = dict(zip(system.params, np.transpose(sorted(found)), strict=True))
            system.check_params(by_name)
            if split in TEST_SPLITS:
                assert not found & (values["train"] | values["validation"]), split

        groups = builder.groups(None)
        made = [e for group in groups for e in group_examples(group, builder.cache_dir)]
        assert [e["trajectory_id"] for e in made] == [e["trajectory_id"].decode() for e in every]
        for ours, stored in zip(made, every, strict=True):
            np.testing.assert_array_equal(ours["state"], stored["state"])
            assert ours["params"] == stored["params"]
            assert ours["start_time"] == stored["start_time"]
        alone = tfds.builder_from_directory(builder.data_path)
        assert alone.info.features.get_tensor_info() == builder.info.features.get_tensor_info()


class TestKuramotoSivashinsky(Contract, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = datasets.builder_class("ks")
    CONFIG = config("ks", spin_up=2)
    SPLITS = counted(DATASET_CLASS, CONFIG)


class TestKolmogorovFlow(Contract, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = datasets.builder_class("kolmogorov")
    CONFIG = config("kolmogorov", spin_up=0, points=32)
    SPLITS = counted(DATASET_CLASS, CONFIG)


@pytest.mark.slow
class TestCylinderWake(Contract, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = datasets.builder_class("wake")
    CONFIG = config("wake", spin_up=0, refinement=1)
    SPLITS = counted(DATASET_CLASS, CONFIG)


@pytest.mark.slow
class TestTransonicAerofoil(Contract, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = datasets.builder_class("aerofoil")
    CONFIG = config("aerofoil", spin_up=0, grid=Grid(32, 12, 0.03, 12, 1))
    SPLITS = counted(DATASET_CLASS, CONFIG)


class TestAUsersOwn(Contract, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = OwnWaves
    CONFIG = OwnWaves.BUILDER_CONFIGS[0]
    SPLITS = counted(DATASET_CLASS, CONFIG)


def test_every_dataset_has_its_contract():
    held = {c.DATASET_CLASS for c in Contract.__subclasses__()}
    assert held == {OwnWaves, *map(datasets.builder_class, datasets.NAMES)}
