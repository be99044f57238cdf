// A page of an owner's own that sends files by Uppy, as its documentation shows.
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'

window.begin = (endpoint, token, options = {}) => {
  const uppy = new Uppy({ autoProceed: false }).use(Tus, {
    endpoint,
    headers: { Authorization: `Bearer ${token}` },
    retryDelays: [0, 200, 500, 1000, 2000, 3000, 3000, 3000, 3000, 3000],
    ...options,
  })
  window.uppy = uppy
  window.sent = []
  window.uploaded = 0
  uppy.on('upload-success', (file, response) => {
    window.sent.push({ name: file.name, url: response.uploadURL })
  })
  uppy.on('upload-progress', (file, progress) => {
    window.uploaded = Math.max(window.uploaded, progress.bytesUploaded)
  })
}

// Content that the test can make too: byte n of a file is 31 n + seed, modulo 251.
window.add = (name, size, seed) => {
  const data = new Uint8Array(size)
  for (let n = 0; n < size; n += 1) data[n] = (31 * n + seed) % 251
  window.uppy.addFile({ name, type: 'image/jpeg', data: new Blob([data]) })
}
