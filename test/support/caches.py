"""What stands for an engine and for a video where only their keeping is tested."""

from asyncmde_ros.engine.plans import Key

KEY = Key('0123abcd', 'slow', 'vits', '518x686', 'auto', 'tensorrt', '10.3.0', '8.7', 'Orin',
          '12060')
PLAN = b'a plan' * 1000
CONTENT = b'a video'
