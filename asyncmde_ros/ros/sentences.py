"""What people are told in logs and diagnostics' messages, by token.

Each says what happened, what that means, and what to do about it, if anything.
"""

from asyncmde_ros.pipeline.results import PipelineState

STATES = {
    PipelineState.READY: 'ready: every image gets depth',
    PipelineState.WAITING_FOR_MEMORY:
        'waiting for a refresh: there is no memory yet, or it was dropped; depth follows the '
        'refresh',
    PipelineState.SLOW_PATH_OFF:
        'no depth: there is no memory, and the slow path is switched off; set slow_path.enabled',
    PipelineState.BUILDING:
        'building engines for this image size: no depth until they are done',
    PipelineState.MEMORY_STALE:
        'no depth: the memory is too old, older than memory.max_age, until the next refresh; '
        'memory.when_too_old: mark would give it all the same'}

REFRESHES_FAIL = 'the slow path fails, and depth goes on with the memory that there is'
GLANCES_FAIL = 'glances fail, and depth goes on, moved and not mended'
STALLED = 'the slow path has stalled, and depth goes on with the memory that there is'
DEPTH_STALE = ('depth rests on a memory that is too old, older than memory.max_age: see in '
               'slow_path_... why refreshes do not come')
NO_DEPTH = 'images come, but no depth: see what dropped_... counts'
"""What else a diagnostics message says; the error, or for how long, follows."""
