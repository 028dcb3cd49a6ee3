import math

from kseg.settings import TrainingSettings
from kseg.training.history import best_row, describe_classes, epochs_since_best, plateau_rate, should_stop


def history(*values, name="val_jaccard"):
    return [{"epoch": epoch, name: value} for epoch, value in enumerate(values, start=1)]


def test_the_best_epoch_is_the_earliest_of_the_highest_or_the_lowest_loss():
    assert best_row([], "jaccard") is None
    assert best_row(history(0.2, 0.5, 0.5, 0.1), "jaccard")["epoch"] == 2
    assert best_row(history(0.2, 0.5, 0.1, 0.1, name="val_loss"), "loss")["epoch"] == 3
    assert best_row(history(math.nan, 0.3), "jaccard")["epoch"] == 2
    assert best_row(history(math.nan), "jaccard") is None


def test_epochs_since_the_best_are_counted():
    assert epochs_since_best(history(0.2, 0.5, 0.4, 0.3), "jaccard") == 2
    assert epochs_since_best(history(0.2, 0.5), "jaccard") == 0
    assert epochs_since_best(history(math.nan, math.nan), "jaccard") == 2


def test_the_rate_is_cut_after_each_patience_without_a_better_epoch():
    settings = TrainingSettings(schedule="plateau", learning_rate=1.0, plateau_patience=2, plateau_factor=0.5)
    rates = [plateau_rate(history(*([0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5][:n])), settings) for n in range(8)]
    # best at 1; 2 and 3 wait and cut; 4 and 5 wait and cut; 6 is better; 7 waits
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_early_stopping_waits_its_epochs():
    settings = TrainingSettings(early_stopping=2)
    assert not should_stop([], settings)
    assert not should_stop(history(0.5, 0.4), settings)
    assert should_stop(history(0.5, 0.4, 0.5), settings)
    assert not should_stop(history(0.5, 0.4, 0.3, 0.2), TrainingSettings())


def test_classes_are_named_in_a_line_the_weakest_where_there_are_many():
    few = {"val_jaccard": 0.5, "val_jaccard/sky": 0.9, "val_jaccard/pole": 0.1, "val_jaccard/train": math.nan}
    assert describe_classes(few) == "jaccard of sky 0.900, pole 0.100"
    many = {f"val_jaccard/c{number}": (number * 7 % 19) / 19 for number in range(19)}
    line = describe_classes(many)
    assert line.startswith("weakest 8 of 19 classes: c0 0.000, c11 0.053, ")
    assert line.count(",") == 7
    assert describe_classes({"val_jaccard": 0.5}) == ""
