//! What runs: a handler's text, resolved to a program and its arguments.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Ours, passed to `python3 -c`.
const PYTHON_BOOTSTRAP: &str = include_str!("bootstrap/python.py");
/// Ours, passed to `node -e`.
const NODE_BOOTSTRAP: &str = include_str!("bootstrap/node.js");

/// Why a handler cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The file is not there.
    #[error("handler `{handler}`: there is no file {file}")]
    NoFile {
        /// As configured.
        handler: String,
        /// Where it was looked for.
        file: String,
    },
    /// Lambda's notation, and no such module.
    #[error(
        "handler `{handler}`: there is no module {module}.py, .mjs, .cjs or .js and no such executable: write FILE:FUNCTION, such as app.py:handler"
    )]
    NoModule {
        /// As configured.
        handler: String,
        /// The module, with its folder.
        module: String,
    },
    /// A file without the name of a function in it.
    #[error("handler `{handler}` names no function: write {handler}:handler")]
    NoFunction {
        /// As configured.
        handler: String,
    },
    /// The notation fits several files.
    #[error("handler `{handler}` fits both {first} and {second}: write FILE:FUNCTION")]
    Ambiguous {
        /// As configured.
        handler: String,
        /// A file that it fits.
        first: String,
        /// Another one.
        second: String,
    },
    /// No handler in any notation.
    #[error("handler `{handler}` is none: write FILE:FUNCTION, such as app.py:handler, or the path of an executable")]
    Malformed {
        /// As configured.
        handler: String,
    },
    /// A file that is not a program.
    #[error("{file} is not executable: build it, or `chmod +x` it")]
    NotExecutable {
        /// The file.
        file: String,
    },
    /// What runs the handler is not there.
    #[error("{program} is not there to run `{handler}`: install it, put it on the PATH, or name it by `runtime`")]
    NoRuntime {
        /// As configured.
        handler: String,
        /// The program.
        program: String,
    },
}

/// What the code is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Node,
    /// Brings its Runtime API client along.
    Executable,
}

impl Language {
    fn of(file: &str) -> Option<Self> {
        match Path::new(file).extension()?.to_str()? {
            "py" => Some(Self::Python),
            "js" | "mjs" | "cjs" => Some(Self::Node),
            _ => None,
        }
    }

    /// As in the configuration of a function.
    pub(super) fn runtime(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::Node => "nodejs",
            Self::Executable => "provided",
        }
    }
}

/// A handler that is there, with the program that runs it.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) language: Language,
    /// The handler's own file.
    pub(super) file: PathBuf,
    /// `LAMBDA_TASK_ROOT`, the working directory.
    pub(super) root: PathBuf,
    /// `_HANDLER`, in Lambda's notation.
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Handler {
    /// Looks the handler up below `root`.
    pub(super) fn resolve(root: &Path, handler: &str, runtime: Option<&str>) -> Result<Self, HandlerError> {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        if let Some((path, function)) = handler.rsplit_once(':') {
            let language = Language::of(path).filter(|_| !function.is_empty());
            let language = language.ok_or_else(|| HandlerError::Malformed {
                handler: handler.to_owned(),
            })?;
            let file = root.join(path);
            if !file.is_file() {
                return Err(HandlerError::NoFile {
                    handler: handler.to_owned(),
                    file: file.display().to_string(),
                });
            }
            // The file's folder is what would be packed for Lambda.
            let folder = file.parent().unwrap_or(&root).to_owned();
            return Self::interpreted(language, file, folder, function, handler, runtime);
        }
        if Language::of(handler).is_some() && root.join(handler).is_file() {
            return Err(HandlerError::NoFunction {
                handler: handler.to_owned(),
            });
        }
        let executable = root.join(handler);
        if executable.is_file() {
            return Self::executable(executable, &root);
        }
        let (module, function) = handler
            .rsplit_once('.')
            .filter(|(module, function)| !module.is_empty() && !function.is_empty())
            .ok_or_else(|| HandlerError::NoFile {
                handler: handler.to_owned(),
                file: executable.display().to_string(),
            })?;
        // Dots of a Python package are folders.
        let python = module.replace('.', "/");
        let candidates = [
            (format!("{python}.py"), Language::Python),
            (format!("{python}/__init__.py"), Language::Python),
            (format!("{module}.mjs"), Language::Node),
            (format!("{module}.cjs"), Language::Node),
            (format!("{module}.js"), Language::Node),
        ];
        let mut found = candidates
            .into_iter()
            .map(|(path, language)| (root.join(path), language))
            .filter(|(file, _)| file.is_file());
        let (file, language) = found.next().ok_or_else(|| HandlerError::NoModule {
            handler: handler.to_owned(),
            module: root.join(module).display().to_string(),
        })?;
        if let Some((second, _)) = found.next() {
            return Err(HandlerError::Ambiguous {
                handler: handler.to_owned(),
                first: file.display().to_string(),
                second: second.display().to_string(),
            });
        }
        Self::interpreted(language, file, root, function, handler, runtime)
    }

    fn interpreted(
        language: Language,
        file: PathBuf,
        root: PathBuf,
        function: &str,
        handler: &str,
        runtime: Option<&str>,
    ) -> Result<Self, HandlerError> {
        let (program, switches, bootstrap): (_, &[&str], _) = match language {
            Language::Node => ("node", &["-e"], NODE_BOOTSTRAP),
            Language::Python | Language::Executable => ("python3", &["-u", "-c"], PYTHON_BOOTSTRAP),
        };
        let program = runtime.unwrap_or(program);
        let found = find_program(program, &root).ok_or_else(|| HandlerError::NoRuntime {
            handler: handler.to_owned(),
            program: program.to_owned(),
        })?;
        let module = file.strip_prefix(&root).unwrap_or(&file).with_extension("");
        let arguments = switches
            .iter()
            .map(OsString::from)
            .chain([bootstrap.into(), file.clone().into(), function.into()])
            .collect();
        Ok(Self {
            language,
            name: format!("{}.{function}", module.display()),
            file,
            root,
            program: found,
            arguments,
        })
    }

    fn executable(file: PathBuf, root: &Path) -> Result<Self, HandlerError> {
        if !is_executable(&file) {
            return Err(HandlerError::NotExecutable {
                file: file.display().to_string(),
            });
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            language: Language::Executable,
            root: file.parent().unwrap_or(root).to_owned(),
            name,
            program: file.clone(),
            file,
            arguments: Vec::new(),
        })
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// A program by path, or by name on the `PATH`.
fn find_program(program: &str, root: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(root.join(program)).filter(|file| is_executable(file));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn a_handler_is_found_in_each_notation() {
        let folder = folder(&["app.py", "src/app.py", "pkg/__init__.py", "web/index.mjs", "bin/fn"]);
        let root = folder.path();
        std::fs::set_permissions(root.join("bin/fn"), std::fs::Permissions::from_mode(0o755)).unwrap();
        // handler, file, LAMBDA_TASK_ROOT, _HANDLER
        let cases = [
            ("app.py:handler", "app.py", "", "app.handler"),
            ("src/app.py:main", "src/app.py", "src", "app.main"),
            ("src/app.main", "src/app.py", "", "src/app.main"),
            ("src.app.main", "src/app.py", "", "src/app.main"),
            ("pkg.handler", "pkg/__init__.py", "", "pkg/__init__.handler"),
            ("web/index.handler", "web/index.mjs", "", "web/index.handler"),
            ("bin/fn", "bin/fn", "bin", "fn"),
        ];
        for (text, file, task_root, name) in cases {
            let runtime = Some("/bin/sh").filter(|_| text != "bin/fn");
            let handler = Handler::resolve(root, text, runtime).unwrap_or_else(|err| panic!("{text}: {err}"));
            assert_eq!(handler.file, root.join(file), "{text}");
            assert_eq!(handler.root, root.join(task_root), "{text}");
            assert_eq!(handler.name, name, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_handler_is_said_on_one_line() {
        let folder = folder(&["app.py", "both.py", "both.js", "data.txt"]);
        let root = folder.path().display().to_string();
        let cases = [
            (
                "none.py:handler",
                "handler `none.py:handler`: there is no file ROOT/none.py",
            ),
            ("app.py", "handler `app.py` names no function: write app.py:handler"),
            (
                "app.py:",
                "handler `app.py:` is none: write FILE:FUNCTION, such as app.py:handler, or the path of an executable",
            ),
            (
                "app.rb:x",
                "handler `app.rb:x` is none: write FILE:FUNCTION, such as app.py:handler, or the path of an executable",
            ),
            (
                "both.x",
                "handler `both.x` fits both ROOT/both.py and ROOT/both.js: write FILE:FUNCTION",
            ),
            (
                "data.txt",
                "ROOT/data.txt is not executable: build it, or `chmod +x` it",
            ),
            ("nothing", "handler `nothing`: there is no file ROOT/nothing"),
            (
                "mod.fn",
                "handler `mod.fn`: there is no module ROOT/mod.py, .mjs, .cjs or .js and no such executable: \
                 write FILE:FUNCTION, such as app.py:handler",
            ),
        ];
        for (text, wanted) in cases {
            let error = Handler::resolve(folder.path(), text, None).unwrap_err();
            assert_eq!(error.to_string().replace(&root, "ROOT"), wanted);
        }
        let error = Handler::resolve(folder.path(), "app.py:handler", Some("no-such-python")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-python is not there to run `app.py:handler`: install it, put it on the PATH, or name it by `runtime`"
        );
    }
}
