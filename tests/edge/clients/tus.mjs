// Sends one file by tus-js-client as a program would, and says in one line of JSON how it went.
//
//   node tus.mjs '{"endpoint": ..., "file": ..., "token": ..., "options": {...}, "cut_after": bytes}'
//
// With cut_after the connection is cut once so many bytes were sent, and the upload goes on by itself.
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { Upload } from 'tus-js-client'

const asked = JSON.parse(process.argv[2])
const size = statSync(asked.file).size
const urls = new Set()
let cuts = 0
let last = {}

// In pieces of a stream this release never says of the last one that it is the last, in the drafts;
// and parallel parts need to be cut from something with a size.
const { protocol = 'tus-v1', parallelUploads = 1 } = asked.options
const isWhole = protocol !== 'tus-v1' || parallelUploads > 1
const upload = new Upload(
  isWhole ? readFileSync(asked.file) : createReadStream(asked.file),
  {
    endpoint: asked.endpoint,
    ...(parallelUploads > 1 ? {} : { uploadSize: size }),
    headers: { Authorization: `Bearer ${asked.token}` },
    metadata: { filename: asked.name ?? 'sent.bin', filetype: 'application/octet-stream' },
    retryDelays: [0, 100, 300, 1000, 3000, 5000],
    ...asked.options,
    onAfterResponse: (_, response) => {
      last = { status: response.getStatus(), upload: response.getHeader('ZT-Upload-Id') }
    },
    onUploadUrlAvailable: () => urls.add(upload.url),
    onProgress: (sent) => {
      if (asked.cut_after && cuts === 0 && sent >= asked.cut_after && sent < size) {
        cuts += 1
        upload.abort().then(() => upload.start())
      }
    },
    onSuccess: () => say({ ok: true, url: upload.url, urls: [...urls], cuts, ...last }),
    onError: (error) => {
      const response = error.originalResponse
      say({ ok: false, why: error.message, status: response ? response.getStatus() : 0 })
    },
  },
)

function say(result) {
  console.log(JSON.stringify(result))
  process.exit(result.ok ? 0 : 1)
}

upload.start()
