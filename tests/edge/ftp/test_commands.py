"""Every command that a camera or a program may send, and the reply that it acts on."""

import asyncio
import re

import pytest

from edge.ftp.session import FEATURES
from edge.snapshot import Limits
from tests.support.ftp_door import Client, Door, dialled, run
from tests.support.snapshots import Customer


async def said(client: Client, lines: list[tuple[str, int]]) -> None:
    """Send each line; its reply must have the code."""
    for line, code in lines:
        await client.send(line)
        reply = await client.heard()
        assert reply[0] == code, (line, reply)


async def listed(client: Client, command: str) -> list[str]:
    reader, writer = await dialled(await client.passive())
    assert await client.say(command) == 150
    lines = (await reader.read()).decode().split("\r\n")
    writer.close()
    assert (await client.heard())[0] == 226
    assert lines.pop() == "", "every line has its end"
    return lines


def check(*lines: tuple[str, int]) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("x.jpg", b"abc") == 226
            await said(client, list(lines))
            assert await client.say("NOOP") == 200, "the connection lives"

    run(test)


# -- signing in and the session -------------------------------------------------------------------


def test_user_and_pass_331_for_every_name_then_230_or_530_and_acct_202() -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        async with door.stranger() as client:
            assert (await client.heard())[0] == 220
            await said(client, [("USER nobody", 331), ("PASS x", 530), ("ACCT x", 202)])
            await said(client, [(f"USER {shown.name}", 331), (f"PASS {shown.secret}", 230)])
            await said(client, [("PASS again", 503)])

    run(test)


def test_rein_begins_anew() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await said(client, [("CWD A", 250), ("REIN", 220), ("PWD", 530)])
            assert await client.sign_in() == 230
            await client.send("PWD")
            assert await client.heard() == (257, '"/"')

    run(test)


def test_quit_221_closes() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("QUIT") == 221
            assert await client.is_closed()

    run(test)


def test_syst_help_stat_and_site_help() -> None:
    check(
        *(("SYST", 215), ("HELP", 214), ("HELP STOR", 214), ("SITE HELP", 214)),
        *(("SITE CHMOD 644 x.jpg", 502), ("STAT", 211), ("STAT x.jpg", 213), ("STAT /", 212)),
        *(("STAT none", 550), ("NOOP", 200), ("NOOP with words", 200)),
    )


def test_type_mode_and_stru() -> None:
    check(
        *((f"TYPE {value}", 200) for value in ("I", "i", "A", "A N", "L 8")),
        *((f"TYPE {value}", 504) for value in ("E", "X", "L 7")),
        *(("MODE S", 200), ("MODE B", 504), ("STRU F", 200), ("STRU R", 504)),
    )


def test_allo_is_200_and_never_202() -> None:
    check(("ALLO 1000", 200), ("ALLO 1000 R 10", 200), ("ALLO x", 501))


def test_folders_pwd_cwd_cdup_mkd_rmd_and_their_x_forms() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for line, reply in (
                ("PWD", (257, '"/"')),
                ("MKD A", (257, '"/A" created')),
                ("XMKD A/B", (257, '"/A/B" created')),
                ('MKD a"b', (257, '"/a""b" created')),
            ):
                await client.send(line)
                assert await client.heard() == reply
            await client.send("MKD A")
            code, text = await client.heard()
            assert code == 550, "clients then CWD"
            assert "File exists" in text
            await said(client, [("CWD A", 250), ("XCWD B", 250), ("CDUP", 250), ("XCUP", 250)])
            await said(client, [("XPWD", 257), ("RMD A/B", 250), ("RMD A/B", 550)])
            await said(client, [("XRMD A", 250), ("RMD /", 550), ("CWD /never/made", 250)])

    run(test)


def test_mkd_and_stor_make_the_folders_above() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("MKD A/B/C") == 257
            assert await client.say("MKD A/B") == 550, "it is there"
            assert await client.store("D/E/x.jpg") == 226
            assert await client.say("MKD D/E") == 550, "it is there"
            assert await listed(client, "NLST") == ["A", "D"]

    run(test)


def test_port_and_eprt_have_one_reply_and_the_connection_lives() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for line in ("PORT 127,0,0,1,4,1", "EPRT |1|127.0.0.1|1025|"):
                await client.send(line)
                assert await client.heard() == (502, "Use passive mode")
            assert await client.store("x.jpg") == 226

    run(test)


def test_pasv_is_one_line_of_227_with_parentheses() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send("PASV")
            line = await client.reader.readuntil(b"\n")
            assert re.fullmatch(rb"227 [^(]*\(127,0,0,1,\d+,\d+\)\r\n", line)

    run(test)


def test_epsv_in_all_its_forms_never_closes() -> None:
    check(("EPSV", 229), ("EPSV 1", 229), ("EPSV 2", 522), ("EPSV ALL", 200), ("PASV", 503))


# -- transfers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["STOR y.jpg", "APPE y.jpg", "STOU y.jpg", "STOU", "stor y.jpg"])
def test_transfers_begin_with_150_and_end_with_226(verb: str) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            await client.send(verb)
            code, text = await client.heard()
            assert code == 150, "and not 125"
            data.write(b"abc")
            data.write_eof()
            assert (await client.heard())[0] == 226, "and not 250 or 200"
            if verb.startswith("STOU"):
                assert text == f"FILE: {'y.jpg' if 'y.jpg' in verb else 'file'}"

    run(test)


def test_stou_takes_no_name_that_is_there() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for name in ("x.jpg", "x.jpg.1", "x.jpg.2"):
                async with client.data() as data:
                    await client.send("STOU x.jpg")
                    assert await client.heard() == (150, f"FILE: {name}")
                    data.write(name.encode())
                    data.write_eof()
                    assert (await client.heard())[0] == 226
        assert len(await door.committed()) == 3

    run(test)


def test_rest_is_350_and_retr_is_550() -> None:
    check(("REST 0", 350), ("REST 5", 350), ("REST x", 501), ("RETR x.jpg", 550))


def test_a_name_that_is_there_is_never_refused() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("x.jpg", b"one") == 226
            assert await client.store("x.jpg", b"two") == 226
        assert [content for _, content in await door.committed()] == [b"one", b"two"]

    run(test)


def test_abor_is_226_when_nothing_runs_and_426_and_226_else() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("ABOR") == 226
            async with client.data() as data:
                assert await client.say("STOR x.jpg") == 150
                data.write(b"abc")
                await asyncio.sleep(0.02)
                await client.send("ABOR")
                assert [(await client.heard())[0] for _ in range(2)] == [426, 226]
            assert await client.say("STOR x.jpg") == 425, "and no 226 more"
            assert await client.store("y.jpg") == 226

    run(test)


def test_noop_and_stat_during_a_transfer_never_abort_it() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR x.jpg") == 150
            data.write(b"abc")
            await said(client, [("NOOP", 200), ("STAT", 211), ("STAT none", 550), ("NOOP", 200)])
            data.write_eof()
            assert (await client.heard())[0] == 226

    run(test)


# -- looking back ---------------------------------------------------------------------------------


def test_size_mdtm_and_mlst_of_what_came_and_550_of_what_did_not() -> None:
    check(
        *(("SIZE x.jpg", 213), ("MDTM x.jpg", 213), ("MLST x.jpg", 250), ("MLST", 250)),
        *(("SIZE none", 550), ("MDTM none", 550), ("MLST none", 550), ("SIZE", 501)),
    )


def test_times_are_utc_and_may_be_set() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("x y.jpg") == 226
            await client.send("MDTM x y.jpg")
            assert await client.heard() == (213, "19700101001640"), "the node's clock, in UTC"
            await client.send("MFMT 20261123101500 x y.jpg")
            assert await client.heard() == (213, "Modify=20261123101500; x y.jpg")
            await client.send("MDTM x y.jpg")
            assert await client.heard() == (213, "20261123101500")
            await said(client, [("MFF modify=20261123101501; x y.jpg", 213)])
            await said(client, [("MFF perm=r; x y.jpg", 504), ("MFMT 2026 x y.jpg", 501)])
            await said(client, [("MFMT 20261399101501 x y.jpg", 501)])
            await said(client, [("MFMT 20261123101500 none", 550)])

    run(test)


def test_list_nlst_mlsd_and_mlst() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("A/b c.jpg", b"abcd") == 226
            assert await client.store("x.jpg", b"abc") == 226
            assert await listed(client, "NLST") == ["A", "x.jpg"]
            assert await listed(client, "NLST A") == ["b c.jpg"]
            (folder, file) = await listed(client, "LIST -la")
            assert re.fullmatch(r"drwx------ +1 owner +group +0 \w+ +\d+ [\d:]+ A", folder)
            assert re.fullmatch(r"-rw------- +1 owner +group +3 Jan +1 00:16 x\.jpg", file)
            assert await listed(client, "LIST x.jpg") == [file]
            lines = await listed(client, "MLSD A")
            kinds = [re.match(r"type=(\w+);", line) for line in lines]
            assert [kind and kind[1] for kind in kinds] == ["cdir", "pdir", "file"]
            assert "size=4;modify=19700101001640;perm=adfw;unique=" in lines[2]
            assert lines[2].endswith("; b c.jpg")
            await client.send("MLST A/b c.jpg")
            code, text = await client.heard()
            assert code == 250
            assert "size=4;" in text
            assert "; /A/b c.jpg" in text
            for line, code in (("LIST none", 550), ("NLST none", 550), ("MLSD x.jpg", 501)):
                await client.passive()
                assert await client.say(line) == code, "and never 501 for what is not there"

    run(test)


def test_dele_takes_the_name_away_and_the_file_is_delivered() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("x.jpg") == 226
            await said(client, [("DELE x.jpg", 250), ("SIZE x.jpg", 550), ("DELE x.jpg", 550)])
        assert len(await door.committed()) == 1

    run(test)


def test_rnfr_350_and_rnto_250() -> None:
    check(("RNFR x.jpg", 350), ("RNTO y.jpg", 250), ("SIZE y.jpg", 213), ("RNFR x.jpg", 550))


# -- what this server can do ----------------------------------------------------------------------


def test_feat_lists_only_what_works_here() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send("FEAT")
            code, text = await client.heard()
            assert code == 211
            lines = text.replace("\r\n", "\n").split("\n")
            assert [line[1:] for line in lines[1:-1]] == list(FEATURES), "and each after a space"
            assert not re.search(r"RETR|AUTH|HASH", text)

    run(test)


def test_opts_clnt_lang_host_and_others() -> None:
    check(
        *(("OPTS UTF8 ON", 200), ("OPTS UTF-8 ON", 200), ("OPTS utf8 off", 200)),
        *(("OPTS MLST type;size;", 200), ("OPTS NOTHING", 501), ("CLNT NcFTP", 200)),
        *(("LANG", 200), ("LANG FR", 504), ("HOST x.example", 220), ("CSID Name=x;", 502)),
        *(("SMNT /", 502), ("XSEN x", 502)),
    )


def test_hash_xcrc_xmd5_are_5xx_and_avbl_is_known() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("x.jpg", b"abc") == 226
            await said(client, [(f"{verb} x.jpg", 550) for verb in ("HASH", "XCRC", "XMD5")])
            await client.send("AVBL")
            assert await client.heard() == (213, "1000")

    run(test, customer=Customer(limits=Limits(upload_bytes_max=1_000)))


def test_a_name_of_any_bytes_is_kept_byte_for_byte() -> None:
    names = [b"caf\xe9", b"\x83\x65\x83\x58\x83\x67.jpg", "東京".encode(), b"a b  c", b"100%"]

    async def test(door: Door) -> None:
        async with door.client() as client:
            for name in names:
                assert await client.store(name) == 226
                assert await client.say(b"SIZE " + name) == 213
            reader, writer = await dialled(await client.passive())
            assert await client.say("NLST") == 150
            assert sorted((await reader.read()).split(b"\r\n")[:-1]) == sorted(names)
            assert (await client.heard())[0] == 226
            writer.close()

    run(test)


def test_refused_names_cost_themselves() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for name in (b"a\x00b", b"a\rb", b"..", b"a/../b", b"a\x07", b"x" * 256):
                assert await client.store(name) == 501
            assert await client.store(b"x" * 251 + b".jpg") == 226

    run(test)


def test_every_refusal_has_its_reason_in_short_words_without_inner_names() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("secret.jpg", b"abc") == 226
            for line in ("SIZE none.jpg", "RETR secret.jpg", "RNTO x", "MODE B", "REST x"):
                await client.send(line)
                code, text = await client.heard()
                assert code >= 500
                assert 10 < len(text) < 160
                assert not re.search(r"secret|none|edge|Error|up_", text)

    run(test)
