"""What the picture of a training draws."""

import numpy as np
import pandas as pd

from tfunroll.plots.training import training


def history(updates, rate, loss):
    rows = [(u, "training/learning_rate", rate) for u in updates]
    rows += [(u, "training/loss", loss) for u in updates]
    return pd.DataFrame(rows, columns=["update", "quantity", "value"])


def test_loss_and_rate_over_updates_by_modality():
    histories = {
        ("shared", 0): history([100, 200], 1e-3, 0.5),
        ("WIG", 0): history([300, 400], 2e-4, 0.1),
        ("WIG", 1): history([300, 400], 2e-4, 0.4),
        ("ONE", 0): history([300, 400], 2e-4, 0.0),  # what a log axis cannot show is left out
    }
    loss, validation, rate = training(histories).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert drawn["all (one step)"] == [[100, 0.5], [200, 0.5]]
    wanted = [[200, 0.5], [300, 0.2], [400, 0.2]]  # from the shared end on; geometric means
    np.testing.assert_allclose(drawn["WIG"], wanted)
    assert "ONE" not in drawn
    assert not validation.lines
    rates = {line.get_label(): line.get_ydata().tolist() for line in rate.lines}
    np.testing.assert_allclose(rates["WIG"], [1e-3, 2e-4, 2e-4])
    assert rate.get_ylabel() == "learning rate"
    assert rate.get_ylim()[0] == 0
