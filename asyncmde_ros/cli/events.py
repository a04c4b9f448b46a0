"""``asyncmde events``: depth from an event camera."""

import argparse
import dataclasses
import sys
from pathlib import Path

from asyncmde_ros import weights
from asyncmde_ros.cli import events_train
from asyncmde_ros.engine.choice import CPU_SHORT_SIDE
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import ensure_writable, make_directory, write_atomically
from asyncmde_ros.lab.arguments import positive_count, positive_number
from asyncmde_ros.lab.text import json_by_line, table
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.resources import share_directory

WINDOW_MS = 33.0
SECONDS = 10.0
SCHEDULE = 'async:30'
FRAMES = 70
LATENCIES = Path('config/latencies/two_cores.json')
"""Of the stages of the pipeline, so that scores do not depend on the machine."""

DESCRIPTION = """\
An event camera has no frames: each pixel tells, to the microsecond, when it became brighter or
darker.  It sees in the dark and at high speed, and nothing at all where nothing moves.

Here events are added up to pictures, with a leak, and these go through the same pipeline as a
camera's images (docs/events.md says how good that is)."""

DEMO = """\
Gives a recording of an event camera to the pipeline, and writes DIR/events.png: at four moments
the events, what they add up to, and the depth at a grid of points (red is near, blue far).

Without --file the events are simulated from the example video, which is fetched on first use
(2.3 MB), as are the weights.  With --video, from that one.

A recording is
  a Prophesee .raw file (EVT 2.0 or 3.0),
  an HDF5 file as DSEC has (.h5, .hdf5; needs pip install "asyncmde_ros[events]"),
  an .aedat4 file of iniVation (the same), or
  a ROS 2 bag (its folder, .mcap, .db3) with event_camera_msgs/EventPacket or
  dvs_msgs/EventArray."""

DEMO_EPILOG = """\
a sensor simulated from the example video:
  asyncmde events demo

three seconds of a recording, in windows of 20 ms:
  asyncmde events demo --file drive.raw --window 20 --seconds 3

one topic of a bag:
  asyncmde events demo --file drive/ --topic /event_camera/events
"""

EVAL = """\
Scores depth of events that are simulated from sequences with ground truth, beside depth of the
same images in grey: AbsRel and delta1, aligned per frame, of the foundation model on every frame
and of the pipeline on its real schedule; of events with the foundation model as it is and as it
is adapted to them; and what one gets without looking at anything (one depth everywhere, or a ramp
from top to bottom).  Prints a table and writes DIR/events.json.  Simulated
events are kind: this says which of two ways is better, and not how good a real sensor would be."""

EVAL_EPILOG = """\
example
  asyncmde events eval kitchen/ tartanair/ --frames 70 --out out
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser('events', help='depth from an event camera',
                                 description=DESCRIPTION,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    _add_demo(actions)
    _add_eval(actions)
    events_train.add_parser(actions)


def _add_demo(actions: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = actions.add_parser('demo', help='see depth from a recording or a simulated sensor',
                                description=DEMO, epilog=DEMO_EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--file', type=Path, metavar='RECORDING', help='a recording of events')
    source.add_argument('--video', type=Path, metavar='FILE',
                        help='a video to simulate events from (default: the example video)')
    parser.add_argument('--topic', help="the bag's topic, where it has several with events")
    parser.add_argument('--sensor', type=_sensor, metavar='WxH',
                        help='pixels of the sensor, where the file does not tell, as 640x480')
    parser.add_argument('--window', type=positive_number, default=WINDOW_MS, metavar='MS',
                        help='a picture every so many milliseconds (default: %(default)g)')
    parser.add_argument('--seconds', type=positive_number, default=SECONDS, metavar='S',
                        help='stop after so much of the recording (default: %(default)g)')
    _add_adapter(parser)
    parser.add_argument('--out', type=Path, default=Path('events_output'), metavar='DIR',
                        help='folder for events.png (default: events_output)')
    parser.set_defaults(run=run_demo)


def _add_eval(actions: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = actions.add_parser('eval', help='score depth of simulated events',
                                description=EVAL, epilog=EVAL_EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sequences', nargs='+', type=Path, metavar='SEQ',
                        help='a folder with ground truth, as of asyncmde eval')
    parser.add_argument('--frames', type=positive_count, default=FRAMES, metavar='N',
                        help='at most so many frames of each; the first ten are not scored '
                             '(default: %(default)s)')
    parser.add_argument('--schedule', default=SCHEDULE, metavar='S',
                        help="the pipeline's, as of asyncmde eval (default: %(default)s, with the "
                             'latencies of two cores)')
    _add_adapter(parser)
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help="of the simulated sensor's thresholds and noise (default: 0)")
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.set_defaults(run=run_eval)


def _add_adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--adapter', type=Path, metavar='FILE',
                        help='what adapts the foundation model to pictures of events, as of '
                             'asyncmde events train; none: nothing does (default: the shipped '
                             'one)')


def run_demo(args: argparse.Namespace) -> int:
    from asyncmde_ros.engine.loader import Model
    from asyncmde_ros.events.demo import SimulatedRecording, run
    from asyncmde_ros.events.foundation import adapter
    from asyncmde_ros.events.recording import Recording, open_recording
    from asyncmde_ros.events.window import Windows
    from asyncmde_ros.lab.media.example import example_video
    from asyncmde_ros.lab.media.sources import open_video
    recording: Recording
    if args.file is None and (args.topic or args.sensor):
        raise AsyncMDEError('--topic and --sensor go with --file')
    if args.file is not None:
        recording = open_recording(args.file, args.sensor, args.topic)
        print(f'{args.file}: a sensor of {recording.size[1]} x {recording.size[0]} pixels')
    else:
        video = args.video or example_video()
        recording = SimulatedRecording(open_video(video))
        print(f'events of a sensor of {recording.size[1]} x {recording.size[0]} pixels, simulated '
              f'from {video}')
    make_directory(args.out)
    weights.fetch(weights.registry.model(DEFAULT_MODEL).foundation)
    print('loading the networks')
    model = Model(adapter=adapter(DEFAULT_MODEL, args.adapter))
    windows = Windows(recording.size, round(args.window * 1e6))
    outcome = run(recording, model, args.out, windows, args.seconds)
    print(f'depth at {outcome.with_depth} of {outcome.windows} windows; nothing moved at '
          f'{outcome.blind}')
    print(f'picture: {outcome.picture}')
    return 0


def run_eval(args: argparse.Namespace) -> int:
    from asyncmde_ros.engine.loader import Model
    from asyncmde_ros.events.evaluation import Request, evaluate
    from asyncmde_ros.events.foundation import adapter
    from asyncmde_ros.lab import machine
    from asyncmde_ros.lab.evaluation import latency
    from asyncmde_ros.lab.evaluation.schedule import parse
    path = args.out / 'events.json'
    ensure_writable(path)
    weights.fetch(weights.registry.model(DEFAULT_MODEL).foundation)
    request = Request(args.sequences, args.frames, CPU_SHORT_SIDE, parse(args.schedule),
                      latency.read(share_directory() / LATENCIES), args.seed)
    found = adapter(DEFAULT_MODEL, args.adapter)
    adapted = None if found is None else Model(adapter=found)
    scores = list(evaluate(Model(), request, adapted))
    content = {'machine': dataclasses.asdict(machine.describe(sys.argv[1:])),
               'scores': [dataclasses.asdict(score) for score in scores]}
    make_directory(args.out)
    write_atomically(path, f'{json_by_line(content, 2)}\n'.encode())
    print(table(('sequence', 'input', 'schedule', 'frames', 'withheld', 'AbsRel', 'delta1'),
                [(score.sequence, score.input, score.schedule, str(score.frames),
                  str(score.withheld), _number(score.absrel), _number(score.delta1))
                 for score in scores], left=3))
    print(f'scores: {path}')
    return 0


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.4f}'


def _sensor(text: str) -> Size:
    cols, _, rows = text.partition('x')
    if not (cols.isdecimal() and rows.isdecimal() and int(cols) and int(rows)):
        raise argparse.ArgumentTypeError(f'{text!r} is no size: write columns x rows, as 640x480')
    return int(rows), int(cols)
