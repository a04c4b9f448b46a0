"""``asyncmde view``: image, depth, trust and timing in a Rerun viewer, or in a file to share."""

import argparse
from pathlib import Path

from asyncmde_ros import weights
from asyncmde_ros.cli.ros import load_run
from asyncmde_ros.errors import AsyncMDEError, MediaError
from asyncmde_ros.lab.arguments import positive_number
from asyncmde_ros.lab.media.arguments import add_source_arguments, open_source, refuse_input
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.ros.signals import stop_on_signal

DESCRIPTION = """\
Shows what the depth is made of, in a Rerun viewer: the image, the inverse depth, the trust in the
memory, and below them how old the memory is, what a frame costs, how often the memory is
refreshed, and every change of state.  Everything lies on the timeline "stamp", by the camera's
own stamps.

Without a source it shows the topics of a running depth_node (this needs ROS 2).  With --video,
--camera or --bag it runs the pipeline itself, without ROS."""

EPILOG = """\
the running node, whatever camera it listens to:
  asyncmde view

the node of a robot that has a namespace, for one minute, into a file:
  asyncmde view --namespace /robot1 --seconds 60 --save robot1.rrd

a video, and a network that you trained:
  asyncmde view --video drive.mp4 --fast-weights run/asyncmde_vits.safetensors

a recorded bag, to share; the other one opens it with "rerun run.rrd":
  asyncmde view --bag drive/ --topic /camera/image_raw --save run.rrd

Ctrl-C ends it, and leaves a complete file.
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'view', help='see image, depth, trust and timing, live or as a file',
        description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source_arguments(parser)
    parser.add_argument('--namespace', metavar='NS',
                        help='namespace of the depth_node whose topics are shown (default: /)')
    parser.add_argument('--topic-image', metavar='TOPIC',
                        help='image topic to show beside its depth (default: the one that the '
                             'depth_node listens to)')
    parser.add_argument('--fast-weights', type=Path, metavar='FILE',
                        help='fast network for --video, --camera and --bag (default: as shipped)')
    parser.add_argument('--seconds', type=positive_number, metavar='S',
                        help='stop after so much of the source, or so long after the first '
                             'message')
    parser.add_argument('--save', type=Path, metavar='FILE.rrd',
                        help='write to a file instead of opening a viewer; a file of that name is '
                             'replaced once the new one is complete')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.save is not None:
        refuse_input(args, args.save)
    if args.topic is not None and args.bag is None:
        raise MediaError('--topic goes with --bag')
    if args.video is None and args.camera is None and args.bag is None:
        _show_topics(args)
    else:
        _show_source(args)
    return 0


def _show_topics(args: argparse.Namespace) -> None:
    if args.fast_weights is not None:
        raise AsyncMDEError('--fast-weights goes with --video, --camera or --bag; a running '
                            "node's are its parameter model.fast_weights")
    from asyncmde_ros.lab.view.recording import Recording
    session = load_run('view', 'without --video, --camera or --bag this shows the '
                           'topics of a node, which needs', local=False)
    names = session.full_names(args.namespace or '', args.topic_image)
    with Recording(args.save) as recording:
        session.run_view(recording, *names, args.seconds)
    print(recording)


def _show_source(args: argparse.Namespace) -> None:
    for option, value in (('--namespace', args.namespace), ('--topic-image', args.topic_image)):
        if value is not None:
            raise AsyncMDEError(f'{option} is for the topics of a running node: leave it out, or '
                                'leave out the source')
    from asyncmde_ros.engine.loader import Model
    from asyncmde_ros.lab.view.player import play
    from asyncmde_ros.lab.view.recording import Recording
    with open_source(args) as source:
        weights.fetch(weights.registry.model(DEFAULT_MODEL).foundation)
        model = Model(fast=args.fast_weights)
        stop = stop_on_signal()
        with Recording(args.save) as recording:
            play(source, args.camera is not None, model, recording, stop, args.seconds)
    print(recording)
