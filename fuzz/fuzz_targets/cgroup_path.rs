//! The cgroup-path parser: any path, from any engine or attacker, gives ids of bounded size.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    let innermost = nabe_container::identify(path);
    let mut levels = 0;
    for identity in nabe_container::nesting(path) {
        // A container without an id would make strangers of its processes, or friends of all.
        assert!(!identity.id.is_empty());
        // Unescaping (`\x2d`) shortens only; dashes come back in pod uids.
        assert!(identity.id.len() <= path.len());
        assert!(identity.short_id().len() <= identity.id.len());
        if levels == 0 {
            assert_eq!(innermost.as_ref(), Some(&identity));
        }
        levels += 1;
    }
    assert_eq!(levels == 0, innermost.is_none());
    let components = path.split(|byte| *byte == b'/').count();
    assert!(levels <= components);
    if let Some(unit) = nabe_container::unit(path) {
        assert!(!unit.is_empty());
    }
    let _ = nabe_container::owner_uid(path);
});
