"""What holds after every test that talks over the link."""

from tests.backends.conftest import _no_task_left

__all__ = ["_no_task_left"]
