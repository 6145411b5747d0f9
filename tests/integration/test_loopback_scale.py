"""Many clients at once: nothing lost, nothing doubled, nothing left."""

import asyncio

from telethon import TelegramClient, events

from telestage.testing import LoopbackTelegram

CLIENTS, TALKERS, POSTS = 100, 20, 30


async def test_a_hundred_clients_send_and_hear_each_other_without_a_gap() -> None:
    async with LoopbackTelegram() as telegram:
        users = [telegram.add_user(f"user{number}") for number in range(CLIENTS)]
        group = telegram.add_channel("group", users, megagroup=True)
        clients = [TelegramClient(user.session, 1, "hash", sequential_updates=True) for user in users]
        await asyncio.gather(*(client.connect() for client in clients))
        assert telegram.connections() == telegram.status().sessions == CLIENTS
        peers = await asyncio.gather(*(client.get_input_entity("group") for client in clients))
        since = len(telegram.calls)
        spoken = {f"from {number}" for number in range(TALKERS)}
        posted = [f"post {number}" for number in range(POSTS)]
        expected = [(spoken | set(posted)) - {f"from {number}"} for number in range(CLIENTS)]
        heard: list[list[str]] = [[] for _ in clients]
        missing = sum(map(len, expected))
        complete = asyncio.Event()

        def listen(client: TelegramClient, texts: list[str]) -> None:
            async def note(event) -> None:
                nonlocal missing
                texts.append(event.raw_text)
                missing -= 1
                if not missing:
                    complete.set()

            client.add_event_handler(note, events.NewMessage)

        for client, texts in zip(clients, heard, strict=True):
            listen(client, texts)
        talk = asyncio.gather(*(clients[n].send_message(peers[n], f"from {n}") for n in range(TALKERS)))
        for text in posted:
            telegram.post(group, text)
        await talk
        async with asyncio.timeout(40):
            await complete.wait()
        for texts, wanted in zip(heard, expected, strict=True):
            assert len(texts) == len(wanted)
            assert set(texts) == wanted
            assert [text for text in texts if text in posted] == posted
        assert len(telegram.delivered(to=group)) == TALKERS
        assert not [call for call in telegram.calls[since:] if "ifference" in call.method]
        await asyncio.gather(*(client.disconnect() for client in clients))
    assert telegram.connections() == 0
