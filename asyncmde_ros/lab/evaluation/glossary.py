"""The words of an evaluation: what its columns, rows, schedules and alignments mean."""

from dataclasses import dataclass
from enum import Enum

TEACHER, OURS = 'teacher', 'async'
EVERY_FRAME = 'every'
"""The schedule of rows that need none."""


class Better(Enum):
    """Which values of a column are the good ones."""

    LOWER = 'lower'
    HIGHER = 'higher'
    ONE = 'nearest to one'
    NEITHER = 'neither'


@dataclass(frozen=True)
class Column:
    """One measured quantity: its key in a record, its heading, how it is printed and read."""

    key: str
    heading: str
    decimals: int
    better: Better
    meaning: str


COLUMNS = (
    Column('frames', 'frames', 0, Better.NEITHER, 'Frames that were scored.'),
    Column('absrel', 'AbsRel', 4, Better.LOWER,
           'Mean of |depth - truth| / truth over the valid pixels, after alignment.'),
    Column('rmse', 'RMSE', 3, Better.LOWER,
           'Root mean square of depth - truth, in metres.'),
    Column('delta1', 'd1', 3, Better.HIGHER,
           'Share of pixels with max(depth / truth, truth / depth) below 1.25.'),
    Column('delta2', 'd2', 3, Better.HIGHER, 'The same, below 1.25 squared.'),
    Column('delta3', 'd3', 3, Better.HIGHER, 'The same, below 1.25 cubed.'),
    Column('edge_absrel', 'at edges', 4, Better.LOWER,
           'AbsRel of the pixels near depth discontinuities of the truth only (neighbours that '
           'differ by more than 10 %).'),
    Column('edge_sharpness', 'sharpness', 3, Better.ONE,
           'Median, over the depth discontinuities, of the predicted step over the true one, in '
           'log depth: 1 is as steep as the truth, near 0 is blurred or beside the edge.'),
    Column('coverage', 'coverage', 3, Better.NEITHER,
           'Share of the valid pixels for which the row gave a depth.'),
    Column('teacher_absrel', 'to T', 4, Better.LOWER,
           "AbsRel with the teacher's own depth of the same frame in place of the truth, wherever "
           'that is not as far as the sky. A memory can beat the teacher on the truth by '
           'smoothing; it cannot here.'),
    Column('teacher_delta1', 'd1 to T', 3, Better.HIGHER,
           "d1 with the teacher's own depth of the same frame in place of the truth."),
    Column('absrel_at_publication', 'at pub.', 4, Better.LOWER,
           'AbsRel against the truth of the moment at which the depth was published, not of the '
           'moment at which the image was taken: latency counts as error.'),
    Column('trust_ause', 'AUSE', 3, Better.LOWER,
           'How well trust tells where depth is wrong: area between the error of the pixels that '
           'are left as the least trusted are removed, and the same with the worst removed first, '
           'in units of AbsRel. 0 is perfect.'),
    Column('trust_ause_constant', 'AUSE const.', 3, Better.NEITHER,
           'The same of a trust that is one value everywhere, which says nothing.'),
    Column('tae', 'TAE', 3, Better.LOWER,
           "Temporal alignment error: AbsRel between neighbouring frames' depths, each projected "
           'into the other by the true poses, times 100.'),
    Column('tcd', 'TCD', 4, Better.LOWER,
           "Temporal Chamfer distance between neighbouring frames' point clouds, brought together "
           'by the true poses, in square metres.'),
    Column('f1', 'F1', 3, Better.HIGHER,
           'Harmonic mean of precision (predicted points near a true one) and recall (true points '
           'near a predicted one), mean over the frames.'),
    Column('opw', 'OPW', 3, Better.LOWER,
           'Flicker: relative difference of neighbouring depths, one warped to the other by '
           'optical flow where that can be relied on, times 100. Needs no poses.'),
    Column('gap_recovery', 'gap rec.', 3, Better.HIGHER,
           '(AbsRel of hold - AbsRel of this row) / (AbsRel of hold - AbsRel of the teacher): '
           'how much of what holding loses is won back. 1 is as good as the teacher.'),
    Column('absrel_over_aligned', '/ aligned', 3, Better.LOWER,
           "AbsRel over that of the same row with scale and shift fitted to each frame's whole "
           'truth: what it costs to measure them instead. Below 1 where the robust fit, which '
           'counts near and far alike, is the better one.'),
)
COLUMN_OF = {column.key: column for column in COLUMNS}

ROWS = {
    TEACHER: 'The foundation model on every frame, as if it took no time.',
    'hold': "The last refresh's depth, shown unchanged until the next one.",
    'hold_mc': "The last refresh's depth, warped by the tracked homographies since then.",
    'teacher_rate': 'The foundation model at the rate it reaches, its last depth held.',
    'fast': "The spatial memory's fast network alone, without a memory.",
    'spatial_memory': "AsyncMDE's own fast path: features of the keyframe, fused with every "
                      "frame's by a network.",
    'async': "What the node publishes by default: a keyframe's depth, moved by homography and "
             'flow, and mended by glances of a small network.',
    'moved': '`async` without glances.',
    'glance': 'The small network of the glances by itself, on every frame.',
    'small_refresh': '`async` with refreshes of the smaller size only, that of --short-side.',
    'large_refresh': '`async` with refreshes of the larger size only, 4/3 of the smaller.',
    'no_flow': '`async` moved by homographies alone.',
    'steady': '`async` with scale.steady: one scale from refresh to refresh.',
    'no_photometry': '`async` that takes all that the keyframe saw for sound, whether it looks '
                     'the same from here or not.',
    'no_displacement': '`async` that expects no more error of a memory that moved far.',
    'no_misfit': '`async` that expects the same error of every glance, however it fits the '
                 'keyframe.',
    'no_surprise': '`async` whose glances take over by expected errors alone, however far they '
                   'differ from the memory.',
}

ALIGNMENTS = {
    'frame': 'scale and shift fitted for every frame',
    'sequence': 'one scale and shift for the whole sequence',
    'metric': 'no fit to the truth: metres from what a sensor would measure (--scale)',
}

OTHER_MODEL = 'Another model, on every frame.'

SCHEDULES = {
    EVERY_FRAME: 'Every frame is seen at once; there is no lag.',
    'fixed:N': 'The memory is refreshed every N frames, without delay: lag 0 to N - 1. Where '
               'there are glances, every frame is glanced at.',
    'async:F': 'The camera runs at F Hz and every stage takes its time: each frame sees the '
               'newest refresh, and the newest glance, that would have been complete.',
}
