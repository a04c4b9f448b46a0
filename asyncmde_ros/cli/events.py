"""``asyncmde events``: what there is for an event camera."""

import argparse

from asyncmde_ros.cli import events_train

COMMANDS = (events_train,)


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser('events', help='depth from an event camera',
                                 description='Depth from an event camera.')
    inner = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for module in COMMANDS:
        module.add_parser(inner)
