"""Connections of a session to other data centres, where files are.

Invariant: each wait for one ends, and one that couldn't be made is gone. Telethon waits for ever where a data centre
takes a connection and says nothing, or doesn't answer the first call; whoever else wants one waits for it, too.
"""

from __future__ import annotations

from typing import Any

from telethon.network.mtprotosender import MTProtoSender
from telethon.tl.alltlobjects import LAYER
from telethon.tl.functions import InvokeWithLayerRequest
from telethon.tl.functions.auth import ExportAuthorizationRequest, ImportAuthorizationRequest

from telestage.actors.telegram.alarms import Alarms, Limit

__all__ = ["new_sender"]


async def new_sender(client: Any, dc_id: int, alarms: Alarms, seconds: float) -> Any:
    """A sender of Telethon's that is connected to a data centre and signed in there.

    Args:
        seconds: To connect and agree on a key, and again for the first call; the call in between is an ordinary one.

    Raises:
        TimeoutError: They have passed.
        Exception: Whatever else kept it from being made.
    """
    dc = await client._get_dc(dc_id)
    make: Any = MTProtoSender  # its constructor carries no annotations
    # in a reconnect, too, an attempt ends
    sender = make(None, loggers=client._log, connect_timeout=client._timeout)
    wire = client._connection(
        dc.ip_address, dc.port, dc.id, loggers=client._log, proxy=client._proxy, local_addr=client._local_addr
    )
    try:
        with Limit(alarms, seconds):
            await sender.connect(wire)
        exported = await client(ExportAuthorizationRequest(dc_id))
        client._init_request.query = ImportAuthorizationRequest(id=exported.id, bytes=exported.bytes)
        with Limit(alarms, seconds):
            await sender.send(InvokeWithLayerRequest(LAYER, client._init_request))
    except BaseException:
        await sender.disconnect()
        raise
    return sender
