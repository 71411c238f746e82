"""Fabricated sources of the published clip datasets: their files, in miniature."""

import clips_source as clips
import faces_source as faces

DFEW_CLASSES = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
MAFW_WORDS = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
MAFW_FOLD_1 = (278, 128, 125, 249, 228, 294, 215, 48, 184, 53, 37)
FERV39K_WORDS = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")


def fold(clip):
    return clip % 5 + 1


def _lists(folder, name, count, line, header=""):
    """A train and a test list for each of five sets; `name` is of a path."""
    for number in range(1, 6):
        for split in ("train", "test"):
            held = [i for i in range(1, count + 1) if (fold(i) == number) == (split == "test")]
            text = "\n".join([*([header] if header else []), *map(line, held)])
            clips.write(folder / name.format(split=split, number=number), text + "\n")


def dfew_label(clip):
    """From 1: every fold has all classes once in 35 clips."""
    return clip % 7 + 1


def dfew_lists(folder, count, form):
    if form == "official":
        name, header = (
            "EmoLabel_DataSplit/{split}(single-labeled)/set_{number}.csv",
            "video_name,label",
        )
        _lists(folder, name, count, lambda i: f"{i},{dfew_label(i)}", header)
    elif form == "former_dfer":
        line = lambda i: f"ROOT/DFEW_Face/{i:05} 2 {dfew_label(i) - 1}"  # noqa: E731
        _lists(folder, "annotation/DFEW_set_{number}_{split}.txt", count, line)
    else:
        line = lambda i: f"/home/me/DFEW/Clip/jpg_256/{i:05} {dfew_label(i) - 1}"  # noqa: E731
        _lists(folder, "dfew/org/split0{number}/{split}.csv", count, line)


def drawn(path, frames, first, size=40):
    """A clip of drawn faces."""
    for t in range(frames):
        data = faces.face((first + t) % 24, size)["image"]
        clips.write(path / f"{path.name}_{t + 1:05}.jpg", data)


def dfew(folder, count=35, form="official", frames="Clip/clip_224x224", draw=False):
    dfew_lists(folder, count, form)
    for i in range(1, count + 1):
        if draw:
            drawn(folder / frames / f"{i:05}", 3, i)
        else:
            clips.folder(folder / frames / f"{i:05}", 2, first=10 * i, name="{:05}.jpg")


def dfew_votes(clip):
    """Ten votes, seven for the clip's label, three for the next class."""
    label = dfew_label(clip) - 1
    return [7 * (k == label) + 3 * (k == (label + 1) % 7) for k in range(7)]


def dfew_annotation(folder, count=35, header=True):
    """The authors' table of votes, saved as CSV; its last clip has no single label."""
    lines = ["1happy,2sad,3neutral,4angry,5surprise,6disgust,7fear,order,label"] * header
    for i in range(1, count + 1):
        lines.append(",".join(map(str, [*dfew_votes(i), i, dfew_label(i)])))
    lines.append(f"5,5,0,0,0,0,0,{count + 1},0")
    clips.write(folder / "Annotation/annotation.csv", "\n".join(lines) + "\n")


def ferv39k(folder, form):
    """Four clips of each class, the last to test on."""
    for split, numbers in (("train", range(3)), ("test", (3,))):
        lines = []
        for label, word in enumerate(FERV39K_WORDS):
            for number in numbers:
                scene = f"{('Action', 'War')[number % 2]}/{word}/{number:04}"
                clips.folder(folder / "2_ClipsforFaceCrop" / scene, 2, first=100 * label + number)
                if form == "official":
                    lines.append(f"{scene} {word}")
                else:
                    lines.append(f"ROOT/FERV39K/2_ClipsforFaceCrop/{scene} 2 {label}")
        name = {
            "official": f"4_setups/All_scenes/{split}_All.csv", "former_dfer": f"FERV39K_{split}.txt",
        }[form]  # fmt: skip
        clips.write(folder / name, "\n".join(lines))


def mafw(folder, form="official", count=55):
    for i in range(1, count + 1):
        clips.folder(folder / f"data/frames/{i:05}", 2, first=10 * i)
    if form == "official":
        name = "split/single/no_caption/set_{number}/{split}.txt"
        _lists(folder, name, count, lambda i: f"{i:05}.mp4 {MAFW_WORDS[i % 11]}")
        name = "split/single/with_caption/set_{number}/{split}.txt"
        _lists(folder, name, count, lambda i: f"{i:05}.mp4 {MAFW_WORDS[i % 11]} a man")
    else:
        name = "mafw/single/split0{number}/{split}.csv"
        _lists(folder, name, count, lambda i: f"/data/frames/{i:05} {i % 11}")


def mafw_counted(folder, label):
    """Lists with as many clips of each class in fold 1 as published; the frames of the first only."""
    words = [
        word for word, count in zip(MAFW_WORDS, MAFW_FOLD_1, strict=True) for _ in range(count)
    ]
    tests = {1: enumerate(words, 1)} | {k: [(2000 + k, MAFW_WORDS[0])] for k in range(2, 6)}
    for number, rows in tests.items():
        lines = [f"{clip:05}{label(word)}" for clip, word in rows]
        clips.write(folder / f"split/single/set_{number}/test.csv", "\n".join(lines) + "\n")
    clips.folder(folder / "data/frames/00001", 2)


def ravdess(folder):
    """Speech of two statements in each of eight emotions by 24 actors; a few other takes."""
    names = [
        f"Actor_{actor:02}/02-01-{emotion:02}-01-{statement:02}-01-{actor:02}"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for statement in ((1, 2) if actor == 1 else (1,))
    ]
    for i, name in enumerate(names):
        clips.folder(folder / name, 2, first=i)
    for modality in ("02", "01"):
        clips.video(folder / f"Actor_02/{modality}-01-03-02-01-02-02.mp4", 3, code="mp4v")
    clips.folder(folder / "Actor_02/02-02-03-02-01-02-02", 2)
    clips.folder(folder / "extras/notes", 1)


AFFWILD2_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


def affwild2(folder):
    """Frame 3 of v1 is missing; v2 has two people and more frames than labels; v3 has no frames."""
    labels = {
        "Train_Set/v1": "0 0 0 0 -1 4 4 4 7 4 4",
        "Train_Set/v2_left": "1 1 1",
        "Train_Set/v2_right": "6 6 6 6",
        "Validation_Set/v4": "5 5 5 -1 -1 2 2 2 2 2 2 2 2 2",
        "Validation_Set/v3": "3 3 3",
    }
    lengths = {"v1": 11, "v2_left": 5, "v2_right": 4, "v4": 14}
    for i, (name, text) in enumerate(labels.items()):
        lines = [AFFWILD2_HEADER, *text.split()]
        clips.write(folder / f"annotations/EXPR_Set/{name}.txt", "\n".join(lines))
        video = name.split("/")[1]
        clips.folder(
            folder / f"cropped_aligned/{video}", lengths.get(video, 0), 20 * i, "{:05}.jpg"
        )
    (folder / "cropped_aligned/v1/00003.jpg").unlink()
    clips.write(folder / "annotations/VA_Set/Train_Set/v1.txt", "valence,arousal\n0.1,0.2\n")
