"""The report of `bnlab lesson`: one HTML page that needs nothing else, neither a script nor the network."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from bnlab.figures import (
    Json,
    accuracy,
    extent,
    learned,
    listed,
    mean,
    moment,
    one_or_more,
    reached,
    whole,
    word,
)
from bnlab.html import Html, Rows, table, tag, terms, void
from bnlab.published import Figure, distinct_answers, published_speed, single_predictions, test, validation
from bnlab.report_style import POLICY, STYLE
from bnlab.reproduction import Reproduction, Row
from bnlab.tables import ARMS, failure, remarks

TITLE = "The batch normalization lesson, reproduced"
WITH = "with_batch_norm"
SHORT = {"without_batch_norm": "without", "with_batch_norm": "with"}
COLUMNS = ("Without batch norm", "With batch norm")


def page(lesson: Reproduction, pictures: Mapping[str, bytes]) -> str:
    """Return the whole page; `pictures` are the curves as SVG by the id of their experiment."""
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", TITLE),
        tag("style", Html(STYLE)),
    )
    body = tag("body", tag("header", *_introduction(lesson)), tag("main", *_main(lesson, pictures)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _introduction(lesson: Reproduction) -> Iterator[Html]:
    yield tag("h1", TITLE)
    yield tag(
        "p",
        "Each comparison trains two identical networks from the same starting weights on the same batches, one without "
        "and one with batch normalization. The lesson's own figures are one run each, of 2017; the figures here are "
        "the mean over the replicates, and a difference is that mean less the lesson's figure.",
    )
    for sentence in (lesson.why_not_compared(), lesson.training_time()):
        if sentence:
            yield tag("p", sentence)
    if not lesson.succeeded:
        failed = sum(not row.succeeded for row in lesson.rows)
        yield tag("p", f"{failed} of {one_or_more(len(lesson.rows), 'experiment')} did not succeed.", class_="failure")


def _main(lesson: Reproduction, pictures: Mapping[str, bytes]) -> Iterator[Html]:
    yield tag("section", tag("h2", "Published and reproduced"), *_tables(lesson))
    sections = (_experiment(row, pictures.get(row.experiment["id"])) for row in lesson.rows)
    yield tag("section", tag("h2", "Every experiment"), *sections)
    yield tag("section", tag("h2", "How it was made"), terms(_making(lesson)))


def _tables(lesson: Reproduction) -> Iterator[Html]:
    columns = [name.capitalize() for name in lesson.columns()]
    if lesson.comparisons:
        for caption, figure in (
            ("Final validation accuracy", validation),
            ("Test accuracy, population statistics", _population_test),
        ):
            groups = [
                (_link(row), [[SHORT[arm], *lesson.cells(row, figure(row.experiment, arm))] for arm in ARMS])
                for row in lesson.comparisons
            ]
            yield table(caption, ["Comparison", "Batch norm", *columns], groups)
    if lesson.inferences:
        yield table(
            "Which statistics predict, with batch normalization",
            ["Experiment", "Measured", *columns],
            [(_link(row), _inference(lesson, row)) for row in lesson.inferences],
        )


def _inference(lesson: Reproduction, row: Row) -> Rows:
    experiment, statistics = row.experiment, row.statistics
    here, lessons = distinct_answers(experiment, WITH, statistics)
    distinct = [whole(lessons), whole(here)] if lesson.compared else [whole(here)]
    rest = [""] * (len(lesson.columns()) - len(distinct))
    return [
        [f"test accuracy, {statistics} statistics", *lesson.cells(row, test(experiment, WITH, statistics))],
        ["… one image at a time", *lesson.cells(row, single_predictions(experiment, WITH, statistics))],
        ["… different answers", *distinct, *rest],
    ]


def _experiment(row: Row, picture: bytes | None) -> Html:
    experiment = row.experiment
    origin = f"Experiment {experiment['id']}, seed {experiment['spec']['seed']}."
    content: list[str] = [tag("h3", row.name), tag("p", row.preset["shows"]), tag("p", origin)]
    if picture is not None:
        content.append(tag("figure", _picture(experiment, picture)))
    if not row.succeeded:
        sentence = " ".join([f"The experiment {experiment['status']}.", *failure(experiment)])
        content.append(tag("p", sentence, class_="failure"))
    content.append(_arms(experiment))
    content += [tag("p", remark) for remark in remarks(experiment)]
    content += [tag("p", warning["message"], class_="warning") for warning in experiment["warnings"]]
    settings = tag("details", tag("summary", "Setting"), terms(_setting(experiment)))
    return tag("section", *content, settings, id=_anchor(row))


def _arms(experiment: Json) -> Html:
    arms = [experiment["arms"][name] for name in ARMS]
    replicates = experiment["spec"]["replicates"]
    rows = [
        ["Final validation accuracy", *(accuracy(validation(experiment, arm).reproduced) for arm in ARMS)],
        ["Test accuracy", *(accuracy(_population_test(experiment, arm).reproduced) for arm in ARMS)],
        ["90 % reached after", *(reached(arm["reached_90_percent_after"]) for arm in arms)],
        ["Replicates that learned", *(learned(arm, replicates) for arm in arms)],
        ["Diverged at batch", *(whole(arm["diverged_at"]) for arm in arms)],
        [
            f"Batches per second, each for {one_or_more(replicates, 'replicate')}",
            *(whole(arm["batches_per_second"]) for arm in arms),
        ],
        ["… the lesson's", *(whole(published_speed(experiment, arm)) for arm in ARMS)],
    ]
    if replicates > 1:
        rows.insert(1, ["… lowest … highest", *(extent(validation(experiment, arm).reproduced) for arm in ARMS)])
    return table(f"Both arms, {one_or_more(replicates, 'replicate')}", ["Figure", *COLUMNS], [(None, rows)])


def _setting(experiment: Json) -> Iterator[tuple[str, str]]:
    yield "experiment", experiment["id"]
    for name, value in experiment["spec"].items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{part}", word(inner)) for part, inner in value.items())
        else:
            yield name, word(value)
    overridden = experiment["preset"]["overridden"]
    yield "overridden", listed(overridden) if overridden else "nothing"
    yield "started", moment(experiment["started_at"])
    yield "finished", moment(experiment["finished_at"])


def _making(lesson: Reproduction) -> Iterator[tuple[str, str]]:
    yield "bnlab", version("bnlab")
    yield "sweep", lesson.sweep["id"]
    datasets = {row.experiment["spec"]["dataset"]: row.experiment["dataset_sha256"] for row in lesson.rows}
    for dataset, sha256 in datasets.items():
        yield "data set", dataset
        yield f"SHA-256 of {dataset}", sha256
    yield "replicates", str(lesson.replicates())
    yield "submitted", moment(lesson.sweep["created_at"])
    yield "started", moment(lesson.sweep["started_at"])
    yield "finished", moment(lesson.sweep["finished_at"])


def _picture(experiment: Json, picture: bytes) -> Html:
    ends = listed(f"{arm} ends at {mean(validation(experiment, arm).reproduced)}" for arm in ARMS)
    source = f"data:image/svg+xml;base64,{b64encode(picture).decode()}"
    return void("img", src=source, alt=f"Validation accuracy over the training steps: {ends}.")


def _population_test(experiment: Json, arm: str) -> Figure:
    return test(experiment, arm, "population")


def _link(row: Row) -> Html:
    return tag("a", row.name, href=f"#{_anchor(row)}")


def _anchor(row: Row) -> str:
    return f"experiment-{row.experiment['id']}"
