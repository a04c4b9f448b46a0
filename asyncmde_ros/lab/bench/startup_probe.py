"""A fresh process that starts the pipeline, says what that took, and ends.

Run as ``python -m asyncmde_ros.lab.bench.startup_probe``; the last line on stdout is JSON.
"""

import argparse
import json
import time

from asyncmde_ros.lab.bench.memory import peak_resident_mib, resident_mib

FIRST_DEPTH_TIMEOUT_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--options', required=True, metavar='JSON',
                        help='the fields of BenchOptions')
    parser.add_argument('--since', type=float, required=True, metavar='S',
                        help='time.monotonic() when this process was started')
    args = parser.parse_args()
    probe = _Stopwatch(args.since)
    probe.lap('interpreter_s')

    from asyncmde_ros.engine.loader import Model
    from asyncmde_ros.errors import EngineError
    from asyncmde_ros.lab.bench.options import BenchOptions
    from asyncmde_ros.lab.bench.pictures import Pan
    from asyncmde_ros.lab.bench.schedule import SimulatedCamera
    from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
    from asyncmde_ros.pipeline.settings import FastPathModel
    probe.lap('import_s')

    fields = json.loads(args.options)
    options = BenchOptions(**fields | {name: tuple(fields[name]) for name in ('size', 'image')}
                           | {'fast_path': FastPathModel(fields['fast_path'])})
    pictures = Pan(options.image)  # a whole video would be counted as the pipeline's memory
    probe.skip()
    model = Model(options.model, options.backend)
    probe.lap('weights_s')
    with DepthPipeline(model, size=options.size, fast_path=options.fast_path) as pipeline:
        probe.lap('compile_s')
        camera = SimulatedCamera(options)
        end = time.monotonic() + FIRST_DEPTH_TIMEOUT_S
        waiting = True
        for index, _ in camera:
            result = pipeline.process(pictures.at(index), camera.stamp_ns(index))
            if waiting and result.depth is not None:
                waiting = False
                probe.lap('first_depth_s')
                rss_start = resident_mib()
                end = time.monotonic() + options.seconds
            if time.monotonic() >= end:
                break
        if waiting:
            raise EngineError(f'no depth within {FIRST_DEPTH_TIMEOUT_S:g} s')
    print(json.dumps({**probe.laps, 'total_s': sum(probe.laps.values()),
                      'rss_start_mib': rss_start, 'rss_end_mib': resident_mib(),
                      'rss_peak_mib': peak_resident_mib()}))


class _Stopwatch:
    """Splits the time since the process was started into named laps."""

    def __init__(self, since: float) -> None:
        self.laps: dict[str, float] = {}
        self._last = since

    def lap(self, name: str) -> None:
        self.laps[name] = time.monotonic() - self._last
        self.skip()

    def skip(self) -> None:
        """Count what was done since the last lap for none."""
        self._last = time.monotonic()


if __name__ == '__main__':
    main()
