// basic-ftp at a door: PORT NAME SECRET FILE FOLDER and how it encrypts: none, explicit, implicit.
import { Client } from "basic-ftp";

const [port, user, password, file, folder, encrypts] = process.argv.slice(2);
const client = new Client(20_000);
try {
  await client.access({
    host: "127.0.0.1",
    port: Number(port),
    user,
    password,
    secure: { none: false, explicit: true, implicit: "implicit" }[encrypts],
    secureOptions: { rejectUnauthorized: false },
  });
  await client.ensureDir(`${folder}/x`);
  await client.uploadFrom(file, "b.bin");
  await client.uploadFrom(file, "c.bin");
  const names = (await client.list()).map((entry) => [entry.name, entry.size]);
  console.log(JSON.stringify([await client.size("b.bin"), names.sort()]));
} finally {
  client.close();
}
