from edge.traced import Tracing
from tests.support.ftp_door import Door, run
from zentransfer import sealed_line


def test_a_door_tells_what_a_traced_camera_said_and_no_password() -> None:
    async def test(door: Door) -> None:
        customer = door.node.customer
        tracing = Tracing(lambda: door.node.intake.tools.snapshots.current, door.node.clock)
        door.door.trace(tracing.traces)
        async with door.client():  # nobody asked
            pass
        assert tracing.maybe_report() == []
        tracing.open(customer.credential_id, 60)
        async with door.stranger() as client:
            assert (await client.heard())[0] == 220
            assert await client.sign_in("a" * 20) == 530
            assert await client.sign_in() == 230
            assert await client.store("IMG_0001.JPG") == 226
        lines = [
            sealed_line.open_sealed(
                customer.private_key, told.account, told.credential, told.line.ciphertext
            )
            for told in tracing.maybe_report()
        ]
        said = "\n".join(lines)
        assert lines[0].startswith("< 220")
        assert f"> USER {customer.shown.name}" in lines
        assert lines.count("> PASS ****") == 2
        assert customer.shown.secret not in said
        assert "a" * 20 not in said
        assert "> STOR IMG_0001.JPG" in lines
        assert lines[-1].startswith("< 226")

    run(test)
