"""Many clients at once: nothing lost, nothing doubled, nothing left."""

import asyncio

from telethon import TelegramClient, events

from telestage.testing import LoopbackTelegram


async def test_a_hundred_clients_send_and_hear_each_other_without_a_gap() -> None:
    async with LoopbackTelegram() as telegram:
        users = [telegram.add_user(f"user{number}") for number in range(100)]
        group = telegram.add_channel("group", users, megagroup=True)
        clients = [TelegramClient(user.session, 1, "hash", sequential_updates=True) for user in users]
        await asyncio.gather(*(client.connect() for client in clients))
        assert telegram.connections() == telegram.status().sessions == 100
        peers = await asyncio.gather(*(client.get_input_entity("group") for client in clients))
        since = len(telegram.calls)
        heard: list[list[str]] = [[] for _ in clients]
        complete = asyncio.Event()

        def listen(client: TelegramClient, texts: list[str]) -> None:
            async def note(event) -> None:
                texts.append(event.raw_text)
                if all(len(texts) >= 199 for texts in heard):
                    complete.set()

            client.add_event_handler(note, events.NewMessage)

        for client, texts in zip(clients, heard, strict=True):
            listen(client, texts)
        sent = asyncio.gather(
            *(
                client.send_message(peer, f"from {n}")
                for n, (client, peer) in enumerate(zip(clients, peers, strict=True))
            )
        )
        for number in range(100):
            telegram.post(group, f"post {number}")
        await sent
        async with asyncio.timeout(40):
            await complete.wait()
        everything = {f"from {number}" for number in range(100)} | {f"post {number}" for number in range(100)}
        for number, texts in enumerate(heard):
            assert len(texts) == 199
            assert set(texts) == everything - {f"from {number}"}
            assert [text for text in texts if text.startswith("post")] == [f"post {n}" for n in range(100)]
        assert len(telegram.delivered(to=group)) == 100
        assert not [call for call in telegram.calls[since:] if "ifference" in call.method]
        await asyncio.gather(*(client.disconnect() for client in clients))
    assert telegram.connections() == 0
