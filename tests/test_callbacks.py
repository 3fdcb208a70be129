"""Our callbacks, and Keras' own beside them."""

import csv

import keras
import numpy as np
import pytest
from PIL import Image

import kddim
from kddim.callbacks import (
    BestModelCallback,
    HistoryCallback,
    ImageGridCallback,
    KIDCallback,
    TimeLimitCallback,
)
from kddim.metrics import FID, KID


def mean_colours(images):
    """A tiny encoder: mean and standard deviation of each channel."""
    return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)


def fit(model, images, *callbacks, epochs=2):
    return model.fit(
        images,
        batch_size=32,
        epochs=epochs,
        validation_data=images[:32],
        verbose=0,
        callbacks=list(callbacks),
    )


@pytest.mark.backend
def test_kid_is_in_the_logs_of_the_epochs_it_measures(model, images, tmp_path):
    kid = KIDCallback(images, mean_colours, num_images=16, diffusion_steps=2)
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5",
        save_weights_only=True,
        monitor="val_kid",
        mode="min",
        save_best_only=True,
    )
    history = fit(model, images, kid, checkpoint)
    values = history.history["val_kid"]
    assert [(1, values[0]), (2, values[1])] == kid.history
    assert (tmp_path / "best.weights.h5").is_file()
    assert kid.protocol["real_images"] == kid.protocol["generated_images"] == 16
    assert kid.protocol["diffusion_steps"] == 2
    assert kid.protocol["encoder"] == "mean_colours"


@pytest.mark.backend
def test_kid_is_that_of_the_model_after_the_epoch(model, images):
    kid = KIDCallback(images, mean_colours, num_images=16, diffusion_steps=2, seed=7)
    history = fit(model, images, kid, epochs=1)
    metric = kddim.metrics.KID(mean_colours)
    metric.update_state(images[:16], model.generate(16, 2, seed=7))
    assert abs(history.history["val_kid"][0] - metric.result()) < 1e-6


def test_real_features_are_computed_once(model, images):
    batches = []

    def encoder(batch):
        batches.append(len(batch))
        return mean_colours(batch)

    fit(model, images, KIDCallback(images, encoder, num_images=16, diffusion_steps=1), epochs=3)
    assert len(batches) == 1 + 3


def test_every_and_the_last_epoch(model, images, tmp_path):
    kid = KIDCallback(images, mean_colours, num_images=4, diffusion_steps=1, every=2)
    grids = ImageGridCallback(tmp_path, 1, 2, diffusion_steps=1, every=2)
    record = HistoryCallback(tmp_path)
    fit(model, images, kid, grids, record, epochs=5)
    assert [epoch for epoch, _ in kid.history] == [2, 4, 5]
    assert sorted(p.name for p in tmp_path.glob("epoch_*")) == [
        f"epoch_000{n}.png" for n in (1, 2, 4, 5)
    ]
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("12345")
    assert [bool(row["val_kid"]) for row in rows] == [False, True, False, True, True]
    assert float(rows[0]["n_loss"]) == pytest.approx(record.rows[0]["n_loss"])
    assert Image.open(tmp_path / "history.png").size[0] > 500


def test_a_time_limit_ends_training_and_the_last_epoch_is_measured(model, images, monkeypatch):
    """Epochs of 10 seconds by a clock of the test's own; the limit is 45."""
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("kddim.callbacks.time_limit.time.monotonic", lambda: next(clock))
    kid = KIDCallback(images, mean_colours, num_images=4, diffusion_steps=1, every=100)
    history = fit(model, images, TimeLimitCallback(45), kid, epochs=20)
    # Begun at 0; epochs end at 10, 20, 30: from there two more would end at 50.
    assert len(history.history["loss"]) == 3
    assert [epoch for epoch, _ in kid.history] == [3]


def test_callbacks_tell_in_the_log_where_it_is_shown(model, images, caplog, capsys):
    """As the command line shows it, so that lines do not break a bar."""
    with caplog.at_level("INFO", "kddim"):
        kid = KIDCallback(images, mean_colours, num_images=4, diffusion_steps=1)
        fit(model, images, TimeLimitCallback(1e-6), kid, epochs=5)
    told = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("val_kid: metric KID") for line in told)
    assert any(line.endswith("epoch 1 is the last") for line in told)
    assert capsys.readouterr().out == ""


def test_grids_draw_the_same_noises(model, images, tmp_path):
    for folder in ("a", "b"):
        callback = ImageGridCallback(tmp_path / folder, 2, 3, diffusion_steps=2)
        callback.set_model(model)
        callback.set_params({"epochs": 1})
        callback.on_epoch_end(0)
    one, other = (np.asarray(Image.open(tmp_path / f / "epoch_0001.png")) for f in "ab")
    np.testing.assert_array_equal(one, other)
    assert one.std() > 1


def test_grids_of_a_second_fit_do_not_replace_those_of_the_first(model, images, tmp_path):
    grids = ImageGridCallback(tmp_path, 1, 2, diffusion_steps=1)
    fit(model, images, grids, epochs=2)
    before = (tmp_path / "epoch_0001.png").read_bytes()
    fit(model, images, grids, epochs=1)
    model.fit(images, epochs=5, initial_epoch=3, verbose=0, callbacks=[grids])
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"epoch_000{n}.png" for n in range(1, 6)]
    assert (tmp_path / "epoch_0001.png").read_bytes() == before


def test_best_model_is_the_one_of_the_lowest_value(model, tmp_path):
    callback = BestModelCallback(tmp_path / "m.keras")
    callback.set_model(model)
    callback.set_params({"epochs": 5})
    seen = []
    for epoch, value in enumerate([0.5, float("nan"), 0.2, None, 0.3]):
        model.ema_network.set_weights([w * 0 + epoch for w in model.ema_network.get_weights()])
        callback.on_epoch_end(epoch, {} if value is None else {"val_kid": value})
        seen.append(callback.best_epoch)
    assert seen == [1, 1, 3, 3, 3]
    best = keras.saving.load_model(tmp_path / "m.keras")
    assert best.ema_network.get_weights()[0].max() == 2.0


@pytest.mark.backend
def test_keras_callbacks_take_the_lowest_kid_without_a_mode(model, images, tmp_path, monkeypatch):
    kids = iter([0.5, 0.2, 0.4, 0.3, 0.9])
    monkeypatch.setattr(KIDCallback, "measure", lambda self: next(kids))
    kid = KIDCallback(images, mean_colours, num_images=4, diffusion_steps=1, verbose=0)
    path = str(tmp_path / "best.{epoch}.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, monitor="val_kid", save_best_only=True, save_weights_only=True
    )
    stop = keras.callbacks.EarlyStopping(monitor="val_kid", patience=2)
    history = fit(model, images, kid, checkpoint, stop, epochs=5)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"best.{e}.weights.h5" for e in (1, 2)]
    assert history.history["val_kid"] == [0.5, 0.2, 0.4, 0.3]
    assert "kid" not in history.history


def test_the_standard_callbacks_of_keras(model, images, tmp_path):
    history = fit(
        model,
        images,
        KIDCallback(images, mean_colours, num_images=8, diffusion_steps=1),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.EarlyStopping("val_kid", mode="min", patience=1, min_delta=1e9),
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=10.0),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        epochs=6,
    )
    assert len(history.history["loss"]) == 2  # stopped early
    assert history.history["learning_rate"][-1] == pytest.approx(1e-3)
    assert float(model.optimizer.learning_rate) < 9e-4
    assert "val_kid" in (tmp_path / "log.csv").read_text().splitlines()[0]
    assert list((tmp_path / "logs").rglob("events*"))


def test_epochs_without_a_measurement_are_passed_over(model, images, tmp_path):
    """KID every second epoch: patience counts measurements."""
    kid = KIDCallback(images, mean_colours, num_images=8, diffusion_steps=1, every=2)
    stop = keras.callbacks.EarlyStopping("val_kid", mode="min", patience=2, min_delta=1e9)
    board = keras.callbacks.TensorBoard(tmp_path / "logs")
    history = fit(model, images, kid, stop, board, epochs=12)
    assert [epoch for epoch, _ in kid.history] == [2, 4, 6]
    assert len(history.history["loss"]) == 6
    events = b"".join(p.read_bytes() for p in (tmp_path / "logs").rglob("events*"))
    assert b"epoch_kid" in events or b"val_kid" in events


def test_a_carried_kid_keeps_checkpoints_to_measured_epochs(model, images, tmp_path):
    options = {"num_images": 8, "diffusion_steps": 1, "every": 2, "carry": True}
    kid = KIDCallback(images, mean_colours, **options)
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.{epoch}.weights.h5"),
        save_weights_only=True,
        monitor="val_kid",
        mode="min",
        save_best_only=True,
    )
    logs = fit(model, images, kid, checkpoint, epochs=5).history["val_kid"]
    assert logs == [np.inf, logs[1], logs[1], logs[3], logs[4]]
    assert kid.history == [(2, logs[1]), (4, logs[3]), (5, logs[4])]
    lowest = [e for e, value in kid.history if value == min(v for k, v in kid.history if k <= e)]
    found = {int(path.name.split(".")[1]) for path in tmp_path.glob("best.*")}
    assert found == {1, *lowest}  # the first one, of which nothing is known, is replaced


def test_kid_goes_on_over_several_fits(model, images, tmp_path):
    kid = KIDCallback(images, mean_colours, num_images=8, diffusion_steps=1, verbose=0)
    fit(model, images, kid, epochs=2)
    features = kid._real
    fit(model, images, kid, epochs=1)
    model.fit(images, epochs=5, initial_epoch=3, verbose=0, callbacks=[kid])
    assert [epoch for epoch, _ in kid.history] == [1, 2, 3, 4, 5]
    assert kid._real is features
    later = KIDCallback(images, mean_colours, num_images=8, diffusion_steps=1, verbose=0)
    later.history = list(kid.history)
    fit(model, images, later, epochs=1)
    assert later.history[:5] == kid.history
    assert later.history[5][0] == 6
    assert Image.open(later.plot(tmp_path / "kid.png")).size[0] > 400


@pytest.fixture
def no_log(caplog):
    """The log is not shown, as in a notebook: callbacks print."""
    caplog.set_level("WARNING", "kddim")


@pytest.mark.usefixtures("no_log")
def test_kid_says_what_it_costs(model, images, capsys):
    kid = KIDCallback(images, mean_colours, num_images=8, diffusion_steps=1)
    fit(model, images, kid, epochs=3)
    assert len(kid.seconds) == 3
    assert 0 < kid.share < 1
    told = [line for line in capsys.readouterr().out.splitlines() if "of its epoch's time" in line]
    assert len(told) == 2
    assert told[0].startswith("val_kid: a measurement of 8 images took ")


@pytest.mark.usefixtures("no_log")
def test_kid_takes_as_many_images_as_its_seconds_allow(model, images, monkeypatch, capsys):
    """A batch of 16 takes 2 s by a clock of the test's own."""
    now = [0.0]
    monkeypatch.setattr("kddim.callbacks.kid.time.perf_counter", lambda: now[0])

    def encoder(batch):
        now[0] += 2.0
        return mean_colours(batch)

    options = {"diffusion_steps": 1, "batch_size": 16}
    kid = KIDCallback(images, encoder, 64, max_seconds=5, **options)
    fit(model, images, kid, epochs=2)
    assert kid.num_images == kid.protocol["generated_images"] == 32
    assert "64 images would take about 8 s per measurement; it takes 32 images" in (
        capsys.readouterr().out
    )
    fit(model, images, kid, epochs=1)
    assert "would take" not in capsys.readouterr().out
    same = KIDCallback(images, mean_colours, 64, seed=0, **options)
    same.set_model(model)
    same.prepare(model.image_shape)
    same.num_images = 32
    assert same.measure() == pytest.approx(kid.history[-1][1], rel=1e-6)
    few = KIDCallback(images, encoder, 64, max_seconds=0.5, **options)
    fit(model, images, few, epochs=1)
    assert few.num_images == 4
    enough = KIDCallback(images, encoder, 64, max_seconds=50, **options)
    fit(model, images, enough, epochs=1)
    assert enough.num_images == 64


def test_every_encoder_sees_its_own_size(images, monkeypatch):
    seen = []
    monkeypatch.setattr("kddim.metrics.encoders.get", lambda name, size, weights: seen.append(size))
    KIDCallback(images, "mobilenet")
    KIDCallback(images, "inception_v3", image_size=128)
    assert seen == [None, 128]


def test_an_encoder_takes_a_local_file_of_weights(images, tmp_path):
    network = keras.applications.MobileNet(
        include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3), pooling="avg"
    )
    network.save_weights(file := tmp_path / "m.weights.h5")
    kid = KIDCallback(images, "mobilenet", image_size=32, weights=file)
    assert kid.encoder.description == "mobilenet 0.25 (m.weights.h5, 32x32, antialiased)"


def test_weights_out_of_reach_name_what_works(images, monkeypatch):
    def fail(**_):
        raise OSError("no route")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    monkeypatch.setattr(keras.applications, "MobileNet", fail)
    for make in (
        KIDCallback,
        lambda _: KID(),
        lambda _: FID(),
        lambda x: KIDCallback(x, "mobilenet"),
    ):
        with pytest.raises(ValueError, match=r"Received: no route\. Pass.*`weights`") as caught:
            make(images)
        for word in ("KIDCallback", "encoders.get", "--encoder-weights", '"auto"', '"random_conv"'):
            assert word in str(caught.value)
    assert KIDCallback(images, "auto").encoder.description == "random_conv"


def test_backup_and_restore_goes_on_where_it_stopped(model, images, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        fit(model, images, backup, Stop(), epochs=4)
    history = fit(model, images, keras.callbacks.BackupAndRestore(tmp_path / "backup"), epochs=4)
    assert len(history.history["loss"]) < 4
    assert int(model.ema_steps) == int(model.optimizer.iterations)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x: KIDCallback(x, "inceptio"), "Unknown encoder"),
        (lambda x: KIDCallback(x, mean_colours, num_images=1), "num_images"),
        (lambda x: KIDCallback(x, mean_colours, diffusion_steps=0), "diffusion_steps"),
        (lambda x: KIDCallback(x, mean_colours, every=0), "every"),
        (lambda x: KIDCallback(x, mean_colours, max_seconds=0), "`max_seconds` above 0"),
        (lambda x: ImageGridCallback("grids", num_rows=0), "num_rows"),
        (lambda x: TimeLimitCallback(0), "`seconds` above 0"),
    ],
)
def test_bad_options_are_refused(images, make, match):
    with pytest.raises(ValueError, match=match):
        make(images)


def test_kid_refuses_images_of_another_size(model, images):
    with pytest.raises(ValueError, match=r"\(batch, 16, 16, 3\)"):
        fit(model, images, KIDCallback(images[:, :8], mean_colours))
