"""The page in a real browser: a picture, a clip, the keyboard, a phone's width, light and dark."""

import browser
import cv2
import devtools
import pytest

pytestmark = browser.needed

SHOWN = "!$('result').hidden && $('progress').hidden"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with devtools.chromium(tmp_path_factory.mktemp("profile"), *camera) as page:
        yield page


@pytest.fixture
def opened(page, server):
    page.console.clear()
    page.fetched.clear()
    page.open(server.url)
    page.until("seen.model")
    yield page
    assert page.console == []
    inside = (server.url, "blob:", "data:")
    assert [url for url in page.fetched if not url.startswith(inside)] == []


@pytest.fixture(scope="module")
def picture(portrait, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "face.png"
    path.write_bytes(portrait[1])
    return path


def text(page, name):
    return page.run(f"$({name!r}).textContent")


def test_a_picture_shows_its_label_and_heatmap(opened, picture):
    opened.choose("#file", picture)
    opened.until(SHOWN)
    assert text(opened, "label").startswith("happiness, ")
    assert text(opened, "said") == "One face."
    assert opened.run("$('expressions').children.length") == 7
    assert "AU12 lip corner puller" in text(opened, "aus")
    assert opened.run("$('over-time').hidden")
    opened.until("$('marks').width > 100")
    blank = "Object.assign(make('canvas'), { width: $('marks').width, height: $('marks').height })"
    drawn = f"$('marks').toDataURL() !== {blank}.toDataURL()"
    assert opened.run(drawn)
    opened.run("($('boxes').click(), $('points').click())")
    assert not opened.run(drawn)
    opened.run("$('mesh').click()")
    assert opened.run(drawn)
    opened.run("($('map').value = 'aus', $('map').onchange())")
    opened.until("!$('heat').hidden && $('heat').naturalWidth === 256")
    opened.run("HTMLAnchorElement.prototype.click = function () { seen.saved = this; }")
    opened.run("URL.createObjectURL = (blob) => { seen.table = blob; return ''; }")
    opened.run("$('save').click()")
    assert opened.run("seen.saved.download") == "face.csv"
    table = opened.run("seen.table.text()")
    head, row = table.strip().split("\r\n")
    assert head.startswith("file,frame,time,face,") and row.startswith("face.png,0,0,0,")


def test_a_clip_shows_its_axis_of_time(opened, clip):
    opened.choose("#file", clip)
    opened.until(SHOWN)
    assert text(opened, "said") == "One face in 6 frames."
    assert "only the first 6 frames" in text(opened, "problems")
    assert opened.run("document.querySelectorAll('#chart path').length") == 6
    assert "0 s" in text(opened, "chart") and "1 s" in text(opened, "chart")
    opened.run("document.querySelector('.chip[aria-label^=AU45]').click()")
    assert opened.run("document.querySelectorAll('#chart path[data-au=AU45]').length") == 1
    opened.until("$('clip').readyState > 1")
    start = float(opened.run("document.querySelector('#chart .now').getAttribute('x1')"))
    opened.run("chart.seek({ clientX: $('chart').getBoundingClientRect().right })")
    opened.until("!$('clip').seeking && $('clip').currentTime > 1.2")
    opened.until(
        f"parseFloat(document.querySelector('#chart .now').getAttribute('x1')) > {start + 200}"
    )
    assert opened.run("$('chart').getAttribute('aria-valuetext')") == "1.25 seconds"
    opened.run("$('chart').focus()")
    opened("Input.dispatchKeyEvent", type="keyDown", key="Home")
    opened.until("!$('clip').seeking && $('clip').currentTime === 0")


def test_the_camera_takes_a_picture(opened):
    opened.run("$('camera').click()")
    opened.until("!$('live').hidden")
    opened.run("$('shoot').click()")
    opened.until(SHOWN)
    assert text(opened, "said") == "No face was found in the picture."
    opened.run("$('off').click()")
    assert opened.run("$('live').hidden && camera.stream === null")


def test_mistakes_are_told(opened, tmp_path):
    damaged = tmp_path / "a.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    opened.choose("#file", damaged)
    opened.until("$('said').textContent.includes('truncated or damaged PNG')")
    large = tmp_path / "b.png"
    large.write_bytes(bytes(2_100_000))
    opened.choose("#file", large)
    opened.until("$('said').textContent.includes('at most 2 MB')")
    assert opened.run("$('result').hidden && $('progress').hidden")
    opened.console[:] = [line for line in opened.console if "status of 422" not in line]


def test_a_clip_that_the_browser_cannot_play(opened, drawn, tmp_path):
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 4, (192, 192))
    for image in drawn[:3]:
        writer.write(image[..., ::-1])
    writer.release()
    opened.choose("#file", path)
    opened.until(SHOWN)
    opened.until("$('clip').error !== null")
    assert text(opened, "said") == "One face in 3 frames."
    said = "This browser cannot play the clip; the chart and the table are of all its frames."
    assert text(opened, "problems") == said


def test_a_file_that_is_too_large_ends_the_one_before_it(opened, picture, tmp_path):
    opened.run("void (window.fetch = () => new Promise(() => {}))")
    opened.choose("#file", picture)
    opened.until("!$('progress').hidden")
    large = tmp_path / "b.png"
    large.write_bytes(bytes(2_100_000))
    opened.choose("#file", large)
    opened.until("$('said').textContent.includes('at most 2 MB')")
    assert opened.run("$('progress').hidden")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone(page, server, picture, clip, dark):
    page.open(server.url, width=390, height=844, dark=dark)
    page.until("seen.model")
    for file in (picture, clip):
        page.choose("#file", file)
        page.until(SHOWN)
        assert page.run("document.documentElement.scrollWidth") == 390
    colours = page.run("getComputedStyle(document.body).backgroundColor")
    assert colours == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")


def test_keyboard_and_names(opened, picture):
    """All that can be used is reached with the tab key, in order, and has a name."""
    opened.choose("#file", picture)
    opened.until(SHOWN)
    opened.run("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        opened("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
        opened("Input.dispatchKeyEvent", type="keyUp", key="Tab", windowsVirtualKeyCode=9)
        reached.append(
            opened.run("document.activeElement.id || document.activeElement.textContent")
        )
    wanted = ["file", "camera", "boxes", "points", "mesh", "map", "save"]
    assert [name for name in reached if name in wanted][-7:].sort() == wanted.sort()
    assert set(wanted) <= set(reached)
    told = opened("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "checkbox", "combobox", "link", "image", "img", "slider", "progressbar")
    nameless = [
        node
        for node in told
        if node.get("role", {}).get("value") in roles
        and not node.get("ignored")
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []
