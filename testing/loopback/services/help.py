"""help.*: where this data centre is, and where others are said to be."""

from datetime import timedelta

from telethon.tl import functions, types
from telethon.tl.tlobject import TLObject

from telestage.testing.loopback.routing import Caller, answers
from telestage.testing.loopback.state import DC, State
from telestage.testing.loopback.tl import now


class HelpService:
    """help.getConfig and help.getNearestDc."""

    def __init__(self, state: State) -> None:
        self._state = state

    @answers(functions.help.GetConfigRequest, open=True)
    def get_config(self, caller: Caller, request: functions.help.GetConfigRequest) -> TLObject:
        """A configuration whose data centre is this server; others only if the test has named them."""
        today = now()
        centres = {DC: self._state.port, **{dc: port or self._state.port for dc, port in self._state.centres.items()}}
        return types.Config(
            date=today,
            expires=today + timedelta(hours=1),
            test_mode=False,
            this_dc=DC,
            dc_options=[types.DcOption(dc, self._state.host, port, static=True) for dc, port in centres.items()],
            dc_txt_domain_name="",
            chat_size_max=200,
            megagroup_size_max=200_000,
            forwarded_count_max=100,
            online_update_period_ms=210_000,
            offline_blur_timeout_ms=5_000,
            offline_idle_timeout_ms=30_000,
            online_cloud_timeout_ms=300_000,
            notify_cloud_delay_ms=30_000,
            notify_default_delay_ms=1_500,
            push_chat_period_ms=60_000,
            push_chat_limit=2,
            edit_time_limit=172_800,
            revoke_time_limit=2**31 - 1,
            revoke_pm_time_limit=2**31 - 1,
            rating_e_decay=2_419_200,
            stickers_recent_limit=200,
            channels_read_media_period=604_800,
            call_receive_timeout_ms=20_000,
            call_ring_timeout_ms=90_000,
            call_connect_timeout_ms=30_000,
            call_packet_timeout_ms=10_000,
            me_url_prefix="https://t.me/",
            caption_length_max=1_024,
            message_length_max=4_096,
            webfile_dc_id=DC,
        )

    @answers(functions.help.GetNearestDcRequest, open=True)
    def get_nearest_dc(self, caller: Caller, request: functions.help.GetNearestDcRequest) -> TLObject:
        """This one."""
        return types.NearestDc(country="", this_dc=DC, nearest_dc=DC)
