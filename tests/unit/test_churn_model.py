"""The model of churn: how good, the same in both forms, kept whole, and refused when it is not."""

import json
import multiprocessing
import os
import shutil
import signal
from decimal import Decimal
from hashlib import sha256

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from lakehouse.core.errors import DiskFull, TableMissing, UsageError
from lakehouse.core.within import Outside
from lakehouse.ingest.decode import decode_batch
from lakehouse.products.churn.bins import bin_of
from lakehouse.products.churn.checks import checks
from lakehouse.products.churn.contract import CUSTOMERS, FEATURES, PREDICTIONS, Prediction
from lakehouse.products.churn.model.customers import Customers, generated, kafka_rows
from lakehouse.products.churn.model.encoding import ModelRefused
from lakehouse.products.churn.model.outcomes import outcomes_of
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.store import CARD, GRAPH, PIPELINE, Models
from lakehouse.products.churn.model.written import TOLD, as_text
from tests.conftest import RULES, settings_at
from tests.support.churn import customer, value
from tests.support.full_disk import disk_at, full
from tests.support.models import FILE, MADE, given, small, train, trained


def dumped(pipeline):
    """The bytes of a pipeline, or of one of these steps; what writes it takes seconds to load."""
    import skops.io  # noqa: PLC0415  # see above
    from sklearn.pipeline import Pipeline  # noqa: PLC0415  # likewise

    return skops.io.dumps(Pipeline(pipeline) if isinstance(pipeline, list) else pipeline)


def loaded(data):
    """Its pipeline."""
    import skops.io  # noqa: PLC0415  # see above

    return skops.io.loads(data, trusted=["sklearn.tree._tree.Tree"])


@pytest.fixture(scope="module")
def scorer():
    made = trained()
    return Scorer(made.card, made.graph, "the model")


@pytest.fixture(scope="module")
def rows():
    return given().rows.combine_chunks().to_batches()[0]


@pytest.fixture
def models(tmp_path):
    return Models(str(tmp_path / "lake"))


def test_auc_of_the_real_file_in_five_folds():
    if not FILE.is_file():
        pytest.skip(f"no real data at {FILE.name}: this test needs it")
    card = trained().card
    assert len(card.folds) == 5
    assert card.auc >= 0.847
    assert card.data.rows == 7043
    assert card.data.churned == 1869
    assert card.held_out.auc > 0.84
    assert card.held_out.accuracy > 0.75
    assert card.held_out.recall > 0.65


def test_the_card_says_what_drift_is_measured_against(rows):
    card = trained().card
    assert {*card.histograms} == {*FEATURES, "probability"}
    assert all(sum(bins.values()) == card.data.rows for bins in card.histograms.values())
    tenures = [bin_of("tenure", cell) for cell in rows.column("tenure").to_pylist()]
    assert card.histograms["tenure"]["below 1"] == tenures.count("below 1")
    assert {*card.importance} == {*FEATURES}
    assert sum(c.customers for c in card.calibration) == round(card.data.rows / 5)


def test_predictions_are_written_as_their_contract_encodes_them(scorer):
    """Against structs of Python: by row what columns say."""
    odd = ["plain", 'a "quoted" one', "back\\slash", "line\nend\x00", "Zoë \u2028", "\x7f"]
    fraction = ("", ".5", ".000123")
    events = [
        customer(
            event_id=f"{odd[n % 6]}{n}", customerID=odd[-n % 6], tenure=n % 72,
            MonthlyCharges=n + n % 7 / 100, TotalCharges=None if n % 5 else n * 9.5,
            event_time=f"20{n % 20:02}-02-28T{n % 24:02}:59:0{n % 2}{fraction[n % 3]}Z",
        )
        for n in range(90)
    ]  # fmt: skip
    for some in (events[:1], events):
        told = kafka_rows([value(one) for one in some], MADE, topic="customers")
        found = {
            (said := msgspec.json.decode(text, type=Prediction)).input_offset: (key, text, said)
            for key, text in outcomes_of(
                decode_batch(told, CUSTOMERS, RULES), scorer, MADE
            ).predictions
        }
        for rows in decode_batch(told, CUSTOMERS, RULES):
            scores = scorer.score(rows)
            for n, row in enumerate(rows.to_pylist()):
                key, text, said = found.pop(row["offset"])
                due = predicted(scorer, scores, n, row, said)
                assert (key, text) == (row["customerID"], PREDICTIONS.encode(due))
        assert not found


def predicted(scorer, scores, n, row, said):
    """The prediction of one row, but for how long it took."""
    share = Decimal(int(scores.rounded()[n])).scaleb(-4)
    threshold = Decimal(f"{scorer.card.threshold:.4f}")
    names = [feature.name for feature in scorer.card.features]
    why = [
        {"feature": names[at], "value": row[names[at]],
         "contribution": Decimal(f"{scores.contributions[n, at]:.4f}") + 0}
        for at in scores.top(TOLD)[n]
    ]  # fmt: skip
    alike = ("event_time", "customerID", "Contract", "tenure", "PaymentMethod", "MonthlyCharges",
             "Churn")  # fmt: skip
    return Prediction(
        event_id=f"{row['event_id']}@{scorer.card.version}", input_event_id=row["event_id"],
        **{name: row[name] for name in alike}, input_topic="customers", input_partition=0,
        input_offset=row["offset"], prediction="Yes" if share >= threshold else "No",
        probability=share, threshold=threshold, model_version=scorer.card.version,
        contributions=PREDICTIONS.encode(why).decode(), scored_at=MADE,
        inference_ms=said.inference_ms,
    )  # fmt: skip


def test_shares_of_any_size_are_told_to_four_digits():
    for shares in ([0, -3, 19_999], [12_345_678, -1, 0], []):
        found = as_text(np.array(shares, np.int64)).to_pylist()
        assert found == [f"{Decimal(one).scaleb(-4):.4f}" for one in shares]


def test_the_same_seed_makes_the_same_model_and_another_one_another():
    again = train(generated(400, 1, MADE), seed=1)
    assert again.graph == small().graph
    assert again.card == small().card
    assert small(2).graph != small().graph


def test_both_forms_say_the_same_of_every_customer(scorer, rows):
    from lakehouse.products.churn.model.training import as_frame  # noqa: PLC0415  # as above

    due = loaded(trained().pipeline).predict_proba(as_frame(rows))[:, 1]
    scores = scorer.score(rows)
    assert np.abs(scores.probability - due).max() <= 1e-6
    odds = scores.contributions.sum(axis=1, dtype=float) + scorer.card.base
    assert np.allclose(1 / (1 + np.exp(-odds)), scores.probability)


def test_a_row_alone_scores_as_it_does_among_others(scorer, rows):
    together = scorer.score(rows.slice(0, 300))
    for row in range(0, 300, 7):
        alone = scorer.score(rows.slice(row, 1))
        assert alone.probability[0] == together.probability[row]
        assert (alone.top(3)[0] == together.top(3)[row]).all()


def test_the_greatest_contributions_come_first(scorer, rows):
    scores = scorer.score(rows.slice(0, 500))
    size = np.abs(scores.contributions)
    found = np.take_along_axis(size, scores.top(3), 1)
    assert np.array_equal(found, np.sort(size, axis=1)[:, ::-1][:, :3])


def test_a_value_unseen_and_a_charge_that_is_not_there_have_a_score(scorer, rows):
    row = rows.slice(0, 1).to_pylist()[0] | {"PaymentMethod": "Barter", "TotalCharges": None}
    for count in (1, 100):
        batch = pa.RecordBatch.from_pylist([row] * count, rows.schema)
        assert 0 < scorer.score(batch).probability[-1] < 1
    assert len(scorer.score(rows.slice(0, 0)).probability) == 0


def test_versions_are_promoted_and_rolled_back(models):
    with pytest.raises(TableMissing, match="no version is promoted"):
        models.current()
    first, second = (models.save(small(seed)).version for seed in (1, 2))
    assert models.save(small(1)).version == first
    assert models.versions() == sorted((first, second))
    models.promote(first)
    models.promote(second)
    models.promote(second)
    assert models.current() == second
    assert models.rollback().version == first
    with pytest.raises(UsageError, match="no other version"):
        models.rollback()
    assert models.current() == first
    for name in ("nothing", "../../x", ""):
        with pytest.raises(UsageError, match="is not among"):
            models.promote(name)


def test_a_kill_in_the_midst_of_saving_leaves_the_version_before(models):
    first = models.save(small(1)).version
    models.promote(first)

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def save():
        os.rename = killed
        models.save(small(2))

    small(2)
    process = multiprocessing.get_context("fork").Process(target=save)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert models.versions() == [first]
    assert models.current() == first
    models.promote(models.save(small(2)).version)
    assert not list(models.folder.glob(".*"))


class Changed:
    """A saved version whose files are changed as a stranger would: the card says their sums."""

    def __init__(self, models):
        self.version = models.save(small()).version
        self.folder = models.folder / self.version

    def write(self, name, data):
        (self.folder / name).write_bytes(data)
        self.card(files={**self.read()["files"], name: sha256(data).hexdigest()})

    def read(self):
        return json.loads((self.folder / CARD).read_bytes())

    def card(self, **changes):
        (self.folder / CARD).write_bytes(json.dumps(self.read() | changes).encode())


def _refused(models, version, words):
    with pytest.raises((ModelRefused, Outside), match=words):
        models.promote(version)
    assert models.promoted() is None


def test_a_full_disk_stops_saving_and_promoting_in_words(tmp_path):
    with disk_at(tmp_path / "lake", "4m") as mounted:
        models = Models(str(mounted))
        first = models.save(small(1)).version
        with full(mounted, 0):
            for act in (lambda: models.save(small(2)), lambda: models.promote(first)):
                with pytest.raises(DiskFull, match="its disk is full"):
                    act()
        assert models.versions() == [first]
        models.promote(models.save(small(2)).version)


def test_a_poisoned_pipeline_is_refused_before_it_is_loaded(models):
    bad = Changed(models)
    from sklearn.preprocessing import FunctionTransformer  # noqa: PLC0415  # as above

    poison = [("columns", FunctionTransformer(os.system)), ("trees", "passthrough")]
    bad.write(PIPELINE, dumped(poison))
    _refused(models, bad.version, "types that no model of ours has: .*posix.system")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (PIPELINE, b"PK\x03\x04 no zip", "model.skops is damaged"),
        (PIPELINE, b"", "model.skops is damaged"),
        (PIPELINE, [("trees", "passthrough")], "features"),
        (GRAPH, b"no graph", "is no model that can be run"),
        (GRAPH, b"", "is no model that can be run"),
    ],
)
def test_files_that_are_no_model_are_refused(models, name, data, words):
    bad = Changed(models)
    bad.write(name, dumped(data) if isinstance(data, list) else data)
    _refused(models, bad.version, words)


@pytest.mark.parametrize("name", [PIPELINE, GRAPH])
def test_a_file_that_changed_since_it_was_saved_is_refused(models, name):
    bad = Changed(models)
    data = bytearray((bad.folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bad.folder / name).write_bytes(data)
    _refused(models, bad.version, f"{name} is not the file that was saved")
    (bad.folder / name).unlink()
    _refused(models, bad.version, "cannot be read")


def test_files_of_two_models_are_refused(models):
    bad = Changed(models)
    bad.write(GRAPH, small(2).graph)
    _refused(models, bad.version, "different models")


def test_a_tree_that_leads_out_of_itself_is_refused(models):
    pipeline = loaded(small().pipeline)
    pipeline["trees"].estimators_[3][0].tree_.children_left[0] = 10**6
    bad = Changed(models)
    bad.write(PIPELINE, dumped(pipeline))
    _refused(models, bad.version, "children that are none")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Age"}, "takes 'Age', which customers do not have"),
        ({"name": "tenure"}, "takes 'tenure' as text, and customers have it as a number"),
        ({"values": ()}, "takes 'gender' as a number, and customers have it as text"),
    ],
)
def test_a_model_of_other_features_is_refused(models, change, words):
    bad = Changed(models)
    first, *others = bad.read()["features"]
    assert first["name"] == "gender"
    bad.card(features=[{**first, **change}, *others])
    _refused(models, bad.version, words)


def test_a_card_that_is_damaged_or_of_another_version_is_refused(models):
    bad = Changed(models)
    bad.card(version="another")
    _refused(models, bad.version, "its card is of version 'another'")
    (bad.folder / CARD).write_bytes(b'{"version":')
    _refused(models, bad.version, "is damaged")
    shutil.rmtree(bad.folder)
    bad.folder.symlink_to("/tmp")
    _refused(models, bad.version, "a link is on the way")


def test_too_few_customers_are_refused_in_words():
    with pytest.raises(UsageError, match="has 20 customers who keep the contract"):
        train(generated(20, 1, MADE), seed=1)
    few = msgspec.structs.asdict(small().card.data)
    assert few["left_out"] == 0
    none = Customers("none.csv", "", given().rows.slice(0, 0), 3, "'tenure' is missing")
    with pytest.raises(UsageError, match="3 broke it; the first fault: 'tenure' is missing"):
        train(none, seed=1)


def test_the_doctor_says_whether_a_whole_version_scores(tmp_path):
    settings, models = settings_at(tmp_path / "lake"), Models(str(tmp_path / "lake"))

    def state():
        (check,) = checks(settings)
        return check.state, check.detail

    assert state() == ("pass", "none: nothing has been trained here")
    version = models.save(small()).version
    assert state() == ("warn", "no version is promoted: nothing is scored")
    models.promote(version)
    assert state() == ("pass", f"{version} scores, AUC {small().card.auc:.3f}")
    with (models.folder / version / GRAPH).open("ab") as file:
        file.write(b"x")
    told, detail = state()
    assert (told, f"{GRAPH} is not the file that was saved" in detail) == ("fail", True)
