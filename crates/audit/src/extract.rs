//! Fields of an audit event out of its JSON.
//!
//! The meaning of each field is that of falcosecurity/plugins `plugins/k8saudit` and `plugins/json`.
//! One is mended: `eff_run_as_user` and its kin look into the security contexts, as their
//! documentation says; upstream looks beside them and always answers 0.

use nabe_event::field::{FieldId, audit as a};

use crate::answer::{Answer, Texts};
use crate::event::Event;
use crate::tree::Tree;

/// The answer of one event to one question.
pub(crate) fn extract(event: &Event, field: FieldId, arg: Option<&[u8]>) -> Answer {
    let tree = &event.tree;
    let arg = arg.map(String::from_utf8_lossy);
    match field {
        a::JSON_VALUE | a::JEVT_VALUE => pointer(tree, arg.as_deref().unwrap_or_default()),
        a::JSON_OBJ | a::JEVT_OBJ => Answer::Text(tree.indented()),
        a::JSON_RAWTIME | a::JEVT_RAWTIME => Answer::Text(event.ts_ns.to_string()),
        _ if tree.get("auditID").is_none() => Answer::None,
        _ => audit(tree, field, arg.as_deref()).unwrap_or(Answer::None),
    }
}

/// RFC 6901, also without the slash at the beginning.
fn pointer(tree: &Tree, path: &str) -> Answer {
    if path.is_empty() {
        return Answer::Text(tree.plain());
    }
    let keys = path.strip_prefix('/').unwrap_or(path).split('/');
    let found =
        keys.map(|key| key.replace("~1", "/").replace("~0", "~")).try_fold(tree, |tree, key| tree.get(&key));
    found.map_or(Answer::None, |tree| Answer::Text(tree.plain()))
}

/// Where fields that are one value stand.
static PLACES: &[(FieldId, &[&str])] = &[
    (a::KA_AUDITID, &["auditID"]),
    (a::KA_STAGE, &["stage"]),
    (a::KA_AUTH_DECISION, &["annotations", "authorization.k8s.io/decision"]),
    (a::KA_AUTH_REASON, &["annotations", "authorization.k8s.io/reason"]),
    (a::KA_AUTH_OPENSHIFT_DECISION, &["annotations", "authentication.openshift.io/decision"]),
    (a::KA_AUTH_OPENSHIFT_USERNAME, &["annotations", "authentication.openshift.io/username"]),
    (
        a::KA_VALIDATIONS_ADMISSION_POLICY_FAILURE,
        &["annotations", "validation.policy.admission.k8s.io/validation_failure"],
    ),
    (a::KA_SECURITY_POD_VIOLATIONS, &["annotations", "pod-security.kubernetes.io/audit-violations"]),
    (a::KA_USER_NAME, &["user", "username"]),
    (a::KA_IMPUSER_NAME, &["impersonatedUser", "username"]),
    (a::KA_VERB, &["verb"]),
    (a::KA_URI, &["requestURI"]),
    (a::KA_TARGET_NAME, &["objectRef", "name"]),
    (a::KA_TARGET_NAMESPACE, &["objectRef", "namespace"]),
    (a::KA_TARGET_RESOURCE, &["objectRef", "resource"]),
    (a::KA_TARGET_SUBRESOURCE, &["objectRef", "subresource"]),
    (a::KA_REQ_BINDING_ROLE, &["requestObject", "roleRef", "name"]),
    (a::KA_REQ_CONFIGMAP_NAME, &["objectRef", "name"]),
    (a::KA_REQ_CONFIGMAP_OBJ, &["requestObject", "data"]),
    (a::KA_REQ_POD_HOST_IPC, &["requestObject", "spec", "hostIPC"]),
    (a::KA_REQ_POD_HOST_NETWORK, &["requestObject", "spec", "hostNetwork"]),
    (a::KA_REQ_CONTAINER_HOST_NETWORK, &["requestObject", "spec", "hostNetwork"]),
    (a::KA_REQ_POD_HOST_PID, &["requestObject", "spec", "hostPID"]),
    (a::KA_REQ_POD_RUN_AS_USER, &["requestObject", "spec", "securityContext", "runAsUser"]),
    (a::KA_REQ_POD_RUN_AS_GROUP, &["requestObject", "spec", "securityContext", "runAsGroup"]),
    (a::KA_REQ_POD_FS_GROUP, &["requestObject", "spec", "securityContext", "fsGroup"]),
    (a::KA_REQ_SERVICE_TYPE, &["requestObject", "spec", "type"]),
    (a::KA_RESP_NAME, &["responseObject", "metadata", "name"]),
    (a::KA_RESPONSE_CODE, &["responseStatus", "code"]),
    (a::KA_RESPONSE_REASON, &["responseStatus", "reason"]),
    (a::KA_USERAGENT, &["userAgent"]),
    (a::KA_CLUSTER_NAME, &["annotations", "cluster_name"]),
];

/// Where fields that are an array stand.
static ARRAYS: &[(FieldId, &[&str])] = &[
    (a::KA_USER_GROUPS, &["user", "groups"]),
    (a::KA_REQ_BINDING_SUBJECTS, &["requestObject", "subjects"]),
    (a::KA_REQ_ROLE_RULES, &["requestObject", "rules"]),
    (a::KA_REQ_POD_SUPPLEMENTAL_GROUPS, &["requestObject", "spec", "securityContext", "supplementalGroups"]),
];

/// Rules of a role: the member of each rule that the field gathers.
static RULES: &[(FieldId, &str)] = &[
    (a::KA_REQ_ROLE_RULES_API_GROUPS, "apiGroups"),
    (a::KA_REQ_ROLE_RULES_NON_RESOURCE_URLS, "nonResourceURLs"),
    (a::KA_REQ_ROLE_RULES_VERBS, "verbs"),
    (a::KA_REQ_ROLE_RULES_RESOURCES, "resources"),
];

/// Kinds of subjects that a binding binds, and whether the namespace stands before the name.
static SUBJECTS: &[(FieldId, &str, bool)] = &[
    (a::KA_REQ_BINDING_SUBJECTS_USER_NAMES, "User", false),
    (a::KA_REQ_BINDING_SUBJECTS_SERVICEACCOUNT_NAMES, "ServiceAccount", false),
    (a::KA_REQ_BINDING_SUBJECTS_SERVICEACCOUNT_NS_NAMES, "ServiceAccount", true),
    (a::KA_REQ_BINDING_SUBJECTS_GROUP_NAMES, "Group", false),
];

fn list(texts: Vec<String>) -> Option<Answer> {
    // A field without items has no value: nothing is in it and nothing intersects it.
    (!texts.is_empty()).then_some(Answer::List(Texts(texts)))
}

fn yes_or_no(value: bool) -> Option<Answer> {
    Some(Answer::Text(value.to_string()))
}

fn audit(tree: &Tree, field: FieldId, arg: Option<&str>) -> Option<Answer> {
    if let Some((_, path)) = PLACES.iter().find(|(id, _)| *id == field) {
        return Some(Answer::Text(tree.at(path)?.plain()));
    }
    if let Some((_, path)) = ARRAYS.iter().find(|(id, _)| *id == field) {
        return list(tree.at(path)?.array()?.iter().map(Tree::plain).collect());
    }
    // An index that is no number has no item.
    let index = match arg {
        Some(arg) => arg.parse().ok(),
        None => None,
    };
    let index_is_wrong = arg.is_some() && index.is_none();
    if let Some((_, member)) = RULES.iter().find(|(id, _)| *id == field) {
        let rules = (!index_is_wrong).then(|| gather(tree, index, &["requestObject", "rules", member]))??;
        let texts = rules.into_iter().flatten().filter_map(Tree::array).flatten().map(Tree::plain);
        return list(texts.collect());
    }
    if let Some((_, kind, with_namespace)) = SUBJECTS.iter().find(|(id, ..)| *id == field) {
        return list(subjects(tree, kind, *with_namespace)?);
    }
    if let Some(found) = container_field(tree, field, index) {
        return found.filter(|_| !index_is_wrong);
    }
    let spec = |path: &[&str]| {
        let path: Vec<&str> = ["requestObject", "spec"].iter().chain(path).copied().collect();
        (!index_is_wrong).then(|| gather(tree, index, &path))?
    };
    let texts = |found: Vec<Option<&Tree>>| list(found.into_iter().flatten().map(Tree::plain).collect());
    match field {
        a::KA_SOURCEIPS => {
            let all = tree.get("sourceIPs")?.array()?;
            texts(match index {
                Some(index) if !index_is_wrong => vec![all.get::<usize>(index)],
                _ => all.iter().map(Some).collect(),
            })
        }
        a::KA_URI_PARAM => parameter(tree.get("requestURI")?.text()?, arg?).map(Answer::Text),
        a::KA_TARGET_POD_NAME => {
            let target = tree.get("objectRef")?;
            let is_pod = target.get("resource").and_then(Tree::text) == Some("pods");
            let is_whole = target.get("subresource").and_then(Tree::text).is_none_or(str::is_empty);
            let name = tree.at(&["responseObject", "metadata", "name"]).filter(|_| is_pod && is_whole)?;
            Some(Answer::Text(name.plain()))
        }
        // It says so whatever the subjects are, as upstream does.
        a::KA_REQ_BINDING_SUBJECT_HAS_NAME => yes_or_no(true),
        a::KA_REQ_CONTAINER_IMAGE => first(containers(tree, "containers", Some(0), &["image"])?),
        a::KA_REQ_CONTAINER_IMAGE_REPOSITORY => {
            let image = containers(tree, "containers", Some(0), &["image"])?.into_iter().flatten().next()?;
            Some(Answer::Text(repository(&image.plain()).to_owned()))
        }
        a::KA_REQ_CONTAINER_PRIVILEGED => {
            let all = containers(tree, "containers", None, &["securityContext", "privileged"])?;
            yes_or_no(all.into_iter().flatten().any(|flag| *flag == Tree::Bool(true)))
        }
        a::KA_REQ_SERVICE_PORTS => {
            // Each port as JSON.
            let ports = tree.at(&["requestObject", "spec", "ports"])?.array()?;
            texts(match index {
                Some(index) => vec![ports.get::<usize>(index)],
                None if index_is_wrong => return None,
                None => ports.iter().map(Some).collect(),
            })
        }
        a::KA_REQ_VOLUME_HOSTPATH => {
            let wanted = arg?;
            let paths = gather(tree, None, &["requestObject", "spec", "volumes", "hostPath", "path"])?;
            yes_or_no(paths.into_iter().flatten().map(Tree::plain).any(|path| {
                wanted.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix)) || path == wanted
            }))
        }
        a::KA_REQ_POD_VOLUMES_HOSTPATH => texts(spec(&["volumes", "hostPath", "path"])?),
        a::KA_REQ_POD_VOLUMES_FLEXVOLUME_DRIVER => texts(spec(&["volumes", "flexVolume", "driver"])?),
        a::KA_REQ_POD_VOLUMES_VOLUME_TYPE => {
            let all = tree.at(&["requestObject", "spec", "volumes"])?.array()?;
            let chosen =
                all.iter().enumerate().filter(|(at, _)| index.is_none_or(|index: usize| index == *at));
            let types = chosen.flat_map(|(_, volume)| match volume {
                Tree::Object(members) => members.iter().map(|(name, _)| &**name).collect(),
                _ => Vec::new(),
            });
            list(types.filter(|name| *name != "name").map(str::to_owned).collect())
        }
        _ => None,
    }
}

fn first(found: Vec<Option<&Tree>>) -> Option<Answer> {
    Some(Answer::Text(found.into_iter().flatten().next()?.plain()))
}

/// What a path leads to; where it meets an array it goes through all items, or through the one with
/// the number. Items without the rest of the path are `None`.
fn gather<'a>(tree: &'a Tree, index: Option<usize>, path: &[&str]) -> Option<Vec<Option<&'a Tree>>> {
    let mut at = tree;
    for (step, key) in path.iter().enumerate() {
        if let Tree::Array(items) = at {
            let Some(index) = index else {
                let rest = path.get(step..)?;
                let mut all = Vec::new();
                for item in items {
                    match gather(item, None, rest) {
                        Some(found) => all.extend(found),
                        None => all.push(None),
                    }
                }
                return Some(all);
            };
            at = items.get(index)?;
        }
        at = at.get(key)?;
    }
    Some(vec![Some(at)])
}

fn containers<'a>(
    tree: &'a Tree,
    which: &str,
    index: Option<usize>,
    path: &[&str],
) -> Option<Vec<Option<&'a Tree>>> {
    let path: Vec<&str> = ["requestObject", "spec", which].iter().chain(path).copied().collect();
    gather(tree, index, &path)
}

/// `falcosecurity/falco` of `falcosecurity/falco:0.44@sha256:…`.
fn repository(image: &str) -> &str {
    let end = image.find([':', '@']).unwrap_or(image.len());
    image.get(..end).unwrap_or(image)
}

fn subjects(tree: &Tree, kind: &str, with_namespace: bool) -> Option<Vec<String>> {
    let all = tree.at(&["requestObject", "subjects"])?.array()?;
    let of_kind = all.iter().filter(|subject| subject.get("kind").and_then(Tree::text) == Some(kind));
    Some(
        of_kind
            .filter_map(|subject| {
                let name = subject.get("name")?.plain();
                if !with_namespace {
                    return Some(name);
                }
                Some(format!("{}:{name}", subject.get("namespace")?.plain()))
            })
            .collect(),
    )
}

/// The first value of a query parameter.
fn parameter(uri: &str, wanted: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let query = query.split('#').next()?;
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == wanted).then(|| decode(value))
    })
}

/// The fields of containers, init containers and ephemeral containers; `None` for other fields.
fn container_field(tree: &Tree, field: FieldId, index: Option<usize>) -> Option<Option<Answer>> {
    let name = field.field().name.strip_prefix("ka.req.pod.")?;
    let (which, what) = name.split_once('.')?;
    if !matches!(which, "containers" | "initContainers" | "ephemeralContainers") {
        return None;
    }
    let of = |path: &[&str]| containers(tree, which, index, path);
    let there = |path: &[&str]| {
        let found = of(path)?;
        list(found.into_iter().flatten().map(Tree::plain).collect())
    };
    let context = |member: &str| there(&["securityContext", member]);
    // Words of a command line, joined for each container.
    let words = |member: &str| {
        let lines = of(&[member])?.into_iter().flatten().filter_map(Tree::array);
        list(lines.map(|words| words.iter().map(Tree::plain).collect::<Vec<_>>().join(" ")).collect())
    };
    let effective = |member: &str| {
        let pod = tree.at(&["requestObject", "spec", "securityContext", member]).map(Tree::plain);
        let pod = pod.unwrap_or_else(|| "0".to_owned());
        let own = of(&["securityContext", member])?;
        list(own.into_iter().map(|own| own.map_or_else(|| pod.clone(), Tree::plain)).collect())
    };
    Some(match what {
        "name" => there(&["name"]),
        "image" => there(&["image"]),
        "image.repository" => of(&["image"]).and_then(|images| {
            list(images.into_iter().flatten().map(|image| repository(&image.plain()).to_owned()).collect())
        }),
        "command" => words("command"),
        "args" => words("args"),
        "privileged" => context("privileged"),
        "allow_privilege_escalation" => context("allowPrivilegeEscalation"),
        "read_only_fs" => context("readOnlyRootFilesystem"),
        "run_as_user" => context("runAsUser"),
        "run_as_group" => context("runAsGroup"),
        "eff_run_as_user" => effective("runAsUser"),
        "eff_run_as_group" => effective("runAsGroup"),
        "proc_mount" => context("procMount"),
        "add_capabilities" => of(&["securityContext", "capabilities", "add"]).and_then(|found| {
            // Upstream answers each container's array as JSON; its items are what is asked for.
            list(found.into_iter().flatten().filter_map(Tree::array).flatten().map(Tree::plain).collect())
        }),
        "host_port" => of(&["ports"]).and_then(|found| {
            let ports = found.into_iter().flatten().filter_map(Tree::array).flatten();
            // With the host's network a container's port is the host's.
            list(
                ports
                    .filter_map(|port| port.get("hostPort").or(port.get("containerPort")))
                    .map(Tree::plain)
                    .collect(),
            )
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nabe_event::field;

    const POD: &str = r#"{"auditID":"x","requestURI":"/api/v1/pods/exec?command=a%20b&command=c&tty=true",
        "user":{"groups":["g1","g2"]},"sourceIPs":["10.0.0.1","10.0.0.2"],
        "requestObject":{"spec":{"hostNetwork":true,"securityContext":{"runAsUser":7,"supplementalGroups":[1,2]},
          "volumes":[{"name":"v","hostPath":{"path":"/etc"}},{"name":"w","secret":{}}],
          "containers":[
            {"name":"a","image":"docker.io/nginx:1.2","command":["sh","-c"],"securityContext":{"privileged":true,
              "capabilities":{"add":["NET_RAW","SYS_ADMIN"]}},"ports":[{"hostPort":80,"containerPort":8080},{"containerPort":9}]},
            {"name":"b","image":"redis@sha256:1","securityContext":{"runAsUser":9}}]},
          "rules":[{"verbs":["get","*"],"resources":["pods"]},{"verbs":["list"]}],
          "subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"n"}]}}"#;

    fn ask(name: &str, arg: Option<&str>) -> String {
        let event = Event { ts_ns: 5, tree: serde_json::from_str(POD).unwrap() };
        match extract(&event, field::find(name).unwrap().id, arg.map(str::as_bytes)) {
            Answer::None => "-".into(),
            Answer::Text(text) => text,
            Answer::List(texts) => format!("{:?}", texts.0),
        }
    }

    #[test]
    fn fields_are_found_where_kubernetes_puts_them() {
        for (name, arg, expected) in [
            ("ka.auditid", None, "x"),
            ("ka.user.groups", None, r#"["g1", "g2"]"#),
            ("ka.sourceips", Some("1"), r#"["10.0.0.2"]"#),
            ("ka.uri.param", Some("command"), "a b"),
            ("ka.uri.param", Some("none"), "-"),
            ("ka.req.pod.host_network", None, "true"),
            ("ka.req.pod.host_pid", None, "-"),
            ("ka.req.pod.supplemental_groups", None, r#"["1", "2"]"#),
            ("ka.req.pod.containers.image", None, r#"["docker.io/nginx:1.2", "redis@sha256:1"]"#),
            ("ka.req.pod.containers.image", Some("1"), r#"["redis@sha256:1"]"#),
            ("ka.req.pod.containers.image", Some("x"), "-"),
            ("ka.req.pod.containers.image", Some("9"), "-"),
            ("ka.req.pod.containers.image.repository", None, r#"["docker.io/nginx", "redis"]"#),
            ("ka.req.container.image.repository", None, "docker.io/nginx"),
            ("ka.req.container.privileged", None, "true"),
            ("ka.req.pod.containers.privileged", None, r#"["true"]"#),
            ("ka.req.pod.containers.command", None, r#"["sh -c"]"#),
            ("ka.req.pod.containers.run_as_user", None, r#"["9"]"#),
            ("ka.req.pod.containers.eff_run_as_user", None, r#"["7", "9"]"#),
            ("ka.req.pod.containers.add_capabilities", None, r#"["NET_RAW", "SYS_ADMIN"]"#),
            ("ka.req.pod.containers.host_port", None, r#"["80", "9"]"#),
            ("ka.req.pod.initContainers.image", None, "-"),
            ("ka.req.pod.volumes.hostpath", None, r#"["/etc"]"#),
            ("ka.req.pod.volumes.volume_type", None, r#"["hostPath", "secret"]"#),
            ("ka.req.volume.hostpath", Some("/et*"), "true"),
            ("ka.req.volume.hostpath", Some("/et"), "false"),
            ("ka.req.role.rules.verbs", None, r#"["get", "*", "list"]"#),
            ("ka.req.role.rules.verbs", Some("1"), r#"["list"]"#),
            ("ka.req.role.rules.resources", None, r#"["pods"]"#),
            ("ka.req.binding.subjects.serviceaccount_ns_names", None, r#"["n:s"]"#),
            ("ka.req.binding.subjects.user_names", None, r#"["u"]"#),
            ("ka.target.pod.name", None, "-"),
            ("jevt.value", Some("/requestObject/spec/containers/1/name"), "b"),
            ("json.value", Some("/nothing"), "-"),
            ("json.rawtime", None, "5"),
        ] {
            assert_eq!(ask(name, arg), expected, "{name}[{arg:?}]");
        }
    }

    #[test]
    fn what_is_no_audit_event_has_no_such_fields() {
        let event = Event { ts_ns: 0, tree: serde_json::from_str(r#"{"verb":"get"}"#).unwrap() };
        assert_eq!(extract(&event, a::KA_VERB, None), Answer::None);
    }
}
