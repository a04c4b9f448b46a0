"""The command-line options that name a source of frames."""

import argparse
from pathlib import Path

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media.example import example_video
from asyncmde_ros.lab.media.frames import FrameSource
from asyncmde_ros.lab.media.sources import open_bag, open_camera, open_video

MOST_CAMERAS = 999
"""OpenCV crashes on some numbers that none has."""


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --video, --camera, --bag and --topic."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--video', type=Path, metavar='FILE', help='a video file')
    source.add_argument('--camera', type=_camera_number, metavar='N', help='a camera, by number')
    source.add_argument('--bag', type=Path, metavar='PATH',
                        help='a ROS 2 bag: its folder, or one .mcap or .db3 file')
    parser.add_argument('--topic', help="the bag's image topic, where it has several")


def resolve_default_source(args: argparse.Namespace) -> None:
    """Name the example video, fetching it if need be, where ``args`` names no source."""
    if args.topic is not None and args.bag is None:
        raise MediaError('--topic goes with --bag')
    if args.video is None and args.camera is None and args.bag is None:
        args.video = example_video()


def source_arguments(args: argparse.Namespace) -> list[str]:
    """Return ``args``' source as words of a command line."""
    words = []
    for name in ('video', 'camera', 'bag', 'topic'):
        value = getattr(args, name)
        if value is not None:
            words.append(f'--{name}={value}')  # so that a name may begin with a dash
    return words


def open_source(args: argparse.Namespace) -> FrameSource:
    """Open what :func:`add_source_arguments` parsed."""
    if args.video is not None:
        return open_video(args.video)
    if args.camera is not None:
        return open_camera(args.camera)
    if args.bag is not None:
        return open_bag(args.bag, args.topic)
    raise MediaError('name a source: --video FILE, --camera N or --bag PATH')


def refuse_input(args: argparse.Namespace, output: Path) -> None:
    """Raise MediaError where writing ``output`` would destroy the source that ``args`` name."""
    if args.video is not None and _same(output, args.video):
        raise MediaError(f'{output} is the video itself, and would be written over: name another')
    if args.bag is not None and _is_part(output, args.bag):
        raise MediaError(f'{output} is part of the bag itself: name another')


def _is_part(output: Path, bag: Path) -> bool:
    """Tell whether ``output`` is, or would be, one of a bag's files, under whichever name."""
    folder = bag if bag.is_dir() else bag.parent
    if not (bag.is_dir() or (folder / 'metadata.yaml').exists()):
        return _same(output, bag)
    return (_same(output, folder) or _same(output.parent, folder)
            or any(_same(output, file) for file in folder.iterdir()))


def _same(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


def _camera_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > MOST_CAMERAS:
        raise argparse.ArgumentTypeError(f'{text!r} is no number of a camera: 0 is the first')
    return int(text)
