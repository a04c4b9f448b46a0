"""Package for pip and for colcon (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'asyncmde_ros'
SHARE = f'share/{PACKAGE}'
ROOT = Path(__file__).resolve().parent  # colcon --symlink-install runs a link to this file


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir()
                  if path.is_file())


BAGS = ['rosbags>=0.11.7,<0.12', 'lz4>=4', 'backports.zstd>=1; python_version < "3.14"']
# Third-party wheels of ROS 2 releases; machines with ROS installed must not pull these.
JAZZY = ['ros-jazzy-rclpy[fastrtps]==7.1.6',
         'ros-jazzy-sensor-msgs==5.3.6',
         'ros-jazzy-nav-msgs==5.3.6',
         'ros-jazzy-diagnostic-msgs==5.3.6']
KILTED = ['ros-kilted-rclpy[fastrtps]==9.1.2',
          'ros-kilted-sensor-msgs==5.5.1',
          'ros-kilted-nav-msgs==5.5.1',
          'ros-kilted-diagnostic-msgs==5.5.1']
GPU = ['cuda-bindings>=12.6', 'onnx>=1.17']
RTX = ['tensorrt-rtx>=1.4,<2; platform_machine == "x86_64"']
# Recordings of event cameras: HDF5 and AEDAT4.
EVENTS = ['h5py>=3.12', 'dv-processing>=2.0.1,<3', *BAGS]
# The versions that were tried: Rerun's API changes from one to the next.
VIEW = ['rerun-sdk>=0.23.4,<0.42', *BAGS]
EVAL = ['matplotlib>=3.7', 'pandas>=2.2,<4', 'jinja2>=3.1,<4']
TRAIN = ['torch>=2.11,<2.14', 'onnx>=1.17', 'onnxscript>=0.5',
         'tomli>=2; python_version < "3.11"', *EVAL]

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={f'{PACKAGE}.lab.evaluation': ['*.j2']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'config/resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        *((f'{SHARE}/{folder}', files(folder))
          for folder in ('launch', 'config', 'config/training', 'config/latencies', 'models')),
    ],
    python_requires='>=3.10',
    install_requires=[
        'av>=17,<19',
        'numpy>=1.23',
        'opencv-python-headless>=4.6',
        'openvino>=2025.1',
        'safetensors>=0.4',
        'tqdm>=4.60',
    ],
    extras_require={
        'ros': [*JAZZY, *BAGS],
        'ros-kilted': [*KILTED, *BAGS],
        'train': TRAIN,
        'eval': EVAL,
        'events': [*EVENTS, 'hdf5plugin>=6'],
        'test': [*TRAIN, *GPU, *RTX, *VIEW, *EVENTS, 'pytest>=7', 'pytest-xdist>=3.2',
                 'pytest-timeout>=2.3,<3', 'hypothesis>=6.80',
                 'huggingface_hub>=1,<3',  # only to see that its cache is read as it writes it
                 'onnxruntime>=1.18', 'packaging>=21', 'pyyaml>=5', 'setuptools>=64',
                 'mypy>=2.4,<3', 'ruff>=0.17,<0.18', 'types-tqdm>=4.66'],
        'gpu': GPU,
        'rtx': [*GPU, *RTX],
        'view': VIEW,
    },
    zip_safe=True,
    maintainer='The asyncmde_ros authors',
    maintainer_email='asyncmde_ros@users.noreply.github.com',
    description='Real-time monocular depth: a foundation model refreshes a memory in the '
                'background, moved and mended with every frame (AsyncMDE).',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    entry_points={'console_scripts': [
        f'depth_node = {PACKAGE}.ros.main:main',
        f'event_depth_node = {PACKAGE}.events.node.main:main',
        f'asyncmde = {PACKAGE}.cli.main:main',
    ]},
)
