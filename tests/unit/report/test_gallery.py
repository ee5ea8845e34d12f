from io import BytesIO

import matplotlib
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from edgedistill.report import AnsweredImages, ReportData, SampleImages, gallery
from edgedistill.report.style import png


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def _opens(figure: Figure) -> None:
    with Image.open(BytesIO(png(figure, dpi=40))) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 20


def test_labelled_answers_show_truth_and_answer(data: ReportData) -> None:
    assert isinstance(data.samples, SampleImages)
    figure = gallery.labelled_answers(data.samples, data.known)
    assert len(figure.findobj(AxesImage)) == len(data.samples.images)
    text = "\n".join(_texts(figure))
    for expected in ("Right:", "Caught:", "→ unknown", "$100$ & more", "<b>stranger</b>"):
        assert expected in text
    _opens(figure)
    _opens(gallery.labelled_answers(None, data.known))


def test_unlabelled_answers_show_the_answer_and_the_nearest_class(data: ReportData) -> None:
    assert data.samples is not None
    shown = data.samples
    samples = AnsweredImages(shown.images, shown.predictions, shown.scores, shown.accepted)
    assert samples.accepted.any() and not samples.accepted.all()
    figure = gallery.unlabelled_answers(samples, ("first", "second", "third", "fourth"))
    assert len(figure.findobj(AxesImage)) == len(samples.images)
    texts = _texts(figure)
    assert texts.count("unknown") == int((~samples.accepted).sum())
    assert sum(text.startswith("nearest: ") for text in texts) == int((~samples.accepted).sum())
    assert "Accepted: answered with a class" in texts
    _opens(figure)
    _opens(gallery.unlabelled_answers(None, data.known))
