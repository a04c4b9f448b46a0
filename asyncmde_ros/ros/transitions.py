"""A lifecycle node that answers while it configures.

rclpy runs a whole transition inside one callback, and nothing beside it: minutes of configuring
would be minutes without parameters, states and diagnostics.
"""

from abc import abstractmethod
from typing import Any, cast

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

CONFIGURE = 'configure'
"""The transition's label, which goes before its number in a request."""


class PatientNode(LifecycleNode):
    """Awaits :meth:`prepare` in the state ``configuring``, then goes through on_configure.

    The executor goes on with everything else meanwhile; the client gets its answer at the end.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        for service in self.services:
            if service.srv_type is ChangeState:
                # A callback that awaits keeps its group busy, which must be no other callback's.
                service.callback_group = ReentrantCallbackGroup()
                self._change_state = service.callback
                # rclpy awaits what is a coroutine, and does not say so in its types.
                service.callback = cast(Any, self._change_state_patiently)

    @property
    def lifecycle_state(self) -> str:
        """Return the state's label, such as 'inactive'; of a transition under way 'configuring'.
        """
        label: str = self._state_machine.current_state[1]
        return label

    @abstractmethod
    async def prepare(self) -> TransitionCallbackReturn:
        """Do what takes long, before on_configure; raises nothing."""

    async def configure(self) -> TransitionCallbackReturn:
        """Go through the transition; RCLError where the node's state has none."""
        machine = self._state_machine
        number, label = machine.current_state
        before = LifecycleState(label, number)
        machine.trigger_transition_by_id(Transition.TRANSITION_CONFIGURE, True)
        result = await self.prepare()
        if result is TransitionCallbackReturn.SUCCESS:
            result = self.on_configure(before)
        self._end_transition(result)
        if result is TransitionCallbackReturn.ERROR:
            self._end_transition(self.on_error(before))
        return result

    def _end_transition(self, result: Any) -> None:
        self._state_machine.trigger_transition_by_label(result.to_label(), True)

    async def _change_state_patiently(self, request: Any, response: Any) -> Any:
        if self._state_machine.current_state[0] == State.TRANSITION_STATE_CONFIGURING:
            # The machine would take its own inner ones from anybody, and lose its way.
            self.get_logger().warning('change_state refused: the node is configuring, and takes '
                                      'no other transition until that is done')
            return response
        asked = request.transition
        if asked.label == CONFIGURE or (not asked.label
                                        and asked.id == Transition.TRANSITION_CONFIGURE):
            response.success = await self.configure() is TransitionCallbackReturn.SUCCESS
            return response
        return self._change_state(request, response)
