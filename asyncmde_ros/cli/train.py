"""``asyncmde train``: the fast network, or a student of the foundation model, for any budget."""

import argparse
import sys
from pathlib import Path

from asyncmde_ros.cli.training import NEEDS, chosen_device, resumable
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import cache_directory
from asyncmde_ros.lab.arguments import count_from_zero, number_from_zero
from asyncmde_ros.resources import share_directory

DESCRIPTION = """\
Trains the fast network of a foundation model: the decoder first, to do what the foundation
model's does, then encoder and projector on single frames and pairs, then the gates on clips,
through the memory. The foundation model's outputs are
computed once and kept (about 1.6 MB a frame); that comes on top of the budget. Ends with
asyncmde_NAME.safetensors in DIR, the best weights by validation on held-out sources, beside
curves.png, train.csv, validation.csv and training.json. Ctrl-C leaves a checkpoint, from which
--resume goes on; a second one ends at once, without.

With a [student] table in the configuration (config/training/student.toml) the foundation model
itself is adapted to see with few tokens: a copy of it that gets smaller pictures learns the depth
that it gives for larger ones. What changed of it is kept as an adapter, glance_NAME.safetensors
(8 MB for vits)."""
EPILOG = """\
DIR of --data is a folder of videos and photos (videos/, photos/, or mixed), perhaps with
videos.csv and photos.csv (columns file, license). Configurations: config/training/*.toml; a file
may build on another by base = "full.toml" and change a few keys.

examples
  asyncmde train --data footage --minutes 60 --out run
  asyncmde train --data footage --minutes 60 --out run --resume
  asyncmde train --config config/training/paper.toml --data footage --minutes 600 --out paper \\
      --device cuda
  asyncmde train --config config/training/student.toml --data footage --minutes 90 --out student
  asyncmde eval kitchen/ --fast-weights run/asyncmde_vits.safetensors --out report
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'train', help='train the fast network or a student (needs torch)', description=DESCRIPTION,
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', type=Path, metavar='FILE',
                        help='TOML file (default: config/training/full.toml)')
    parser.add_argument('--data', type=Path, required=True, metavar='DIR')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument('--minutes', type=number_from_zero, metavar='M',
                        help='budget of training and validation; 0 only prepares targets and '
                             'start')
    budget.add_argument('--steps', type=count_from_zero, metavar='N',
                        help='budget in steps instead: the same seed then gives the same weights')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default=None,
                        help='default: cuda where there is one')
    parser.add_argument('--resume', action='store_true',
                        help='go on from the checkpoint in --out; the budget is of the whole run')
    parser.add_argument('--encoder', type=Path, metavar='FILE',
                        help="safetensors of a MobileNetV3-Small with timm's key names and folded "
                             "normalisation to begin with (default: the shipped network's); a "
                             'student has none')
    parser.add_argument('--start', type=Path, metavar='FILE',
                        help='safetensors of a trained fast network to go on from, instead of '
                             'the encoder and the foundation model\'s decoder; of a student: an '
                             'adapter, or all of its weights')
    parser.add_argument('--cache', type=Path, metavar='DIR',
                        help="where the foundation model's outputs are kept (default: "
                             '~/.cache/asyncmde/training, or in $XDG_CACHE_HOME)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        from asyncmde_ros.lab.training import run as training
        from asyncmde_ros.lab.training.config import load
        from asyncmde_ros.lab.training.loop import Budget
    except ImportError as error:
        raise AsyncMDEError(NEEDS.format(error.name)) from error
    device = chosen_device(args.device)
    config = load(args.config or share_directory() / 'config' / 'training' / 'full.toml')
    with resumable(args.out):
        report = training.train(config, training.TrainingRequest(
            args.data, args.out, args.cache or cache_directory() / 'training',
            Budget(args.minutes, args.steps), device, args.resume, args.encoder,
            args.start), sys.argv[1:])
    print(f'{args.out / report["weights"]}: {report["steps"]} steps in {report["minutes"]:.1f} '
          f'minutes\n{_scores(report["validation"])}\ncurves: {args.out / "curves.png"}')
    return 0


def _scores(scores: dict[str, float]) -> str:
    if 'ratio_warped' not in scores:  # a student's
        kinds = ', '.join(f'{name.removeprefix("error_")} {value:.3f}'
                          for name, value in scores.items() if name != 'error')
        return ('held-out pictures, error to the foundation model that sees more: '
                f'{scores["error"]:.3f} ({kinds})')
    return (f'held-out clips, error to the foundation model on every frame: {scores["error"]:.3f} '
            f'(held {scores["error_held"]:.3f}, warped {scores["error_warped"]:.3f}), '
            f'{scores["ratio_warped"]:.3f} of the warped hold\'s')
