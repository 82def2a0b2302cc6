"""A runtime for tests: carries out the Python text that it is given, in the confined container."""

import errno
import socket
import threading
import traceback

from netserv.container.descriptors import close_all
from netserv.container.frames import receive_to_container, send
from netserv.container.messages import AttachRing, Failed, Load, Loaded, Log, Ping, Pong, Unload, Unloaded


def run(control: socket.socket) -> None:
    """A `Load` with a property `do` runs that text, `Loaded` when it is through; `beside` runs it in a thread."""
    while (received := receive_to_container(control)) is not None:
        message, descriptors = received
        match message:
            case Load(module=module):
                _do(control, message, descriptors)
            case Unload(module=module):
                send(control, Unloaded(module=module))
            case Ping(number=number):
                send(control, Pong(number=number))
            case AttachRing():
                close_all(descriptors)


def attempt(function: object, *arguments: object) -> str:
    """`done`, or the name of the error."""
    try:
        function(*arguments)  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except BaseException as error:
        return type(error).__name__
    return "done"


def _do(control: socket.socket, load: Load, descriptors: list[int]) -> None:
    names = {
        "control": control,
        "load": load,
        "descriptors": descriptors,
        "attempt": attempt,
        "send": send,
        "say": lambda text: send(control, Log(module=load.module, level="info", text=str(text))),
    }
    try:
        if "beside" in load.properties:
            threading.Thread(target=exec, args=(load.properties["beside"], names), daemon=True).start()
        exec(load.properties.get("do", ""), names)
    except BaseException:
        send(control, Failed(module=load.module, where="start", text=traceback.format_exc()[-1500:]))
    else:
        send(control, Loaded(module=load.module))
